package conn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// An authority signs certificates. Everybody's key is the same kind, and everybody is valid for the years around now.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	template := certificate("an authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{cert, key}
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().AddDate(-1, 0, 0),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// The names that a server's certificate has, unless it is changed.
const tlsHost = "db.test"

// issue makes a certificate for db.test and 127.0.0.1, and its key.
func (a authority) issue(t testing.TB, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := certificate("app")
	template.DNSNames, template.IPAddresses = []string{tlsHost}, []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, c := range change {
		c(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// file writes the authority's own certificate.
func (a authority) file(t testing.TB) string { return pemFile(t, "CERTIFICATE", a.cert.Raw) }

// files writes a certificate and its key.
func files(t testing.TB, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	return pemFile(t, "CERTIFICATE", c.Certificate[0]), pemFile(t, "PRIVATE KEY", der)
}

func pemFile(t testing.TB, kind string, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pem")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return name
}

func withSSLMode(srv *fakepg.Server, mode string) string {
	return strings.Replace(srv.DSN(), "sslmode=disable", "sslmode="+mode, 1)
}

// serving is a server's configuration with this certificate.
func serving(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// startTLS starts a server, without TLS if config is nil, and gives what it knows of the encryption of each connection.
func startTLS(
	t testing.TB, config *tls.Config, reply func(fakepg.Statement) fakepg.Reply,
) (*fakepg.Server, <-chan *tls.ConnectionState) {
	t.Helper()
	var options []fakepg.Option
	if config != nil {
		options = append(options, fakepg.TLS(config))
	}
	states := make(chan *tls.ConnectionState, 100)
	return fakepg.Start(t, func(c *fakepg.Conn) {
		states <- c.TLS()
		c.Serve(reply)
	}, options...), states
}

// openAt opens a pool with this query in its DSN, at a server that host is the name of.
func openAt(t testing.TB, srv *fakepg.Server, host, query string) (*sql.DB, error) {
	t.Helper()
	addr := strings.TrimPrefix(strings.TrimSuffix(srv.DSN(), "/fake?sslmode=disable"), "postgresql://app@")
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	addr = net.JoinHostPort(host, port)
	cfg, err := cockroachdb.ParseConfig("postgresql://app:" + kit.Secret + "@" + addr + "/fake?" + query)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.LookupFunc = srv.Lookup
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	return db, nil
}

// withoutDefaults takes away the certificates and settings that pgx would find on this machine.
func withoutDefaults(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if key, _, _ := strings.Cut(pair, "="); strings.HasPrefix(key, "PG") {
			t.Setenv(key, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
}

// What TLS is asked of, by DSN, and with what certificate the server answers.
func TestTLS_EachMode_VerifiesWhatItPromises(t *testing.T) {
	withoutDefaults(t)
	ours, others := newAuthority(t), newAuthority(t)
	plain := (*tls.Config)(nil)
	right := serving(ours.issue(t))
	wrongHost := serving(ours.issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"elsewhere.test"}, nil
	}))
	wrongCA := serving(others.issue(t))
	expired := serving(ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(0, 0, -1) }))
	tooOld := right.Clone()
	tooOld.MinVersion, tooOld.MaxVersion = tls.VersionTLS10, tls.VersionTLS11

	root := "&sslrootcert=" + ours.file(t)
	const encrypted, unencrypted = "", "unencrypted"
	for i, tc := range []struct {
		server *tls.Config
		host   string
		query  string
		want   string // how it goes: encrypted, unencrypted, or this error
	}{
		{right, tlsHost, "sslmode=verify-full" + root, encrypted},
		{right, "127.0.0.1", "sslmode=verify-full" + root, encrypted},
		{right, "sub." + tlsHost, "sslmode=verify-full" + root, "not sub.db.test"},
		{right, "127.0.0.2", "sslmode=verify-full" + root, "certificate is valid for 127.0.0.1, not 127.0.0.2"},
		{right, tlsHost, "sslmode=verify-full", "failed to verify certificate"},
		{wrongHost, tlsHost, "sslmode=verify-full" + root, "certificate is valid for elsewhere.test, not db.test"},
		{wrongHost, "127.0.0.1", "sslmode=verify-full" + root, "any IP SANs"},
		{wrongCA, tlsHost, "sslmode=verify-full" + root, "certificate signed by unknown authority"},
		{expired, tlsHost, "sslmode=verify-full" + root, "certificate has expired"},
		{plain, tlsHost, "sslmode=verify-full" + root, "server refused TLS connection"},
		{tooOld, tlsHost, "sslmode=verify-full" + root, "protocol version"},

		{right, tlsHost, "sslmode=verify-ca" + root, encrypted},
		{wrongHost, tlsHost, "sslmode=verify-ca" + root, encrypted},
		{wrongCA, tlsHost, "sslmode=verify-ca" + root, "certificate signed by unknown authority"},
		{expired, tlsHost, "sslmode=verify-ca" + root, "certificate has expired"},
		{plain, tlsHost, "sslmode=verify-ca" + root, "server refused TLS connection"},

		// With sslrootcert, require is verify-ca; without, whoever speaks TLS is believed.
		{wrongHost, tlsHost, "sslmode=require" + root, encrypted},
		{wrongCA, tlsHost, "sslmode=require" + root, "certificate signed by unknown authority"},
		{wrongCA, tlsHost, "sslmode=require", encrypted},
		{expired, tlsHost, "sslmode=require", encrypted},
		{plain, tlsHost, "sslmode=require", "server refused TLS connection"},

		{wrongCA, tlsHost, "sslmode=prefer", encrypted},
		{plain, tlsHost, "sslmode=prefer", unencrypted},
		{wrongCA, tlsHost, "x=y", encrypted}, // prefer is what holds without sslmode
		{plain, tlsHost, "x=y", unencrypted},
		{right, tlsHost, "sslmode=allow", unencrypted},
		{right, tlsHost, "sslmode=disable", unencrypted},

		// The system's certificates are for verify-full, whatever sslmode says, and don't know our authority.
		{right, tlsHost, "sslmode=verify-full&sslrootcert=system", "failed to verify certificate"},
		{right, tlsHost, "sslmode=prefer&sslrootcert=system", "failed to verify certificate"},
		{plain, tlsHost, "sslrootcert=system", "server refused TLS connection"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			srv, states := startTLS(t, tc.server, func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} })
			db, err := openAt(t, srv, tc.host, tc.query)
			require.NoError(t, err)
			err = db.PingContext(t.Context())
			switch tc.want {
			case encrypted:
				require.NoError(t, err)
				assert.NotNil(t, <-states)
				assert.Zero(t, srv.PlainStarts())
			case unencrypted:
				require.NoError(t, err)
				assert.Nil(t, <-states)
				assert.Equal(t, 1, srv.PlainStarts())
			default:
				require.ErrorContains(t, err, tc.want)
				assert.NotContains(t, err.Error(), kit.Secret)
				assert.Zero(t, srv.Connections(), "user and password were not sent")
				assert.Zero(t, srv.PlainStarts(), "nor anything in the clear")
			}
		})
	}
}

func TestTLS_HostName_IsIndicated(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	root := "sslmode=verify-ca&sslrootcert=" + ours.file(t)
	for _, tc := range []struct{ host, query, want string }{
		{tlsHost, root, tlsHost},
		{tlsHost, root + "&sslsni=0", ""},
		{"127.0.0.1", root, ""},
	} {
		srv, states := startTLS(t, serving(ours.issue(t)), func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} })
		db, err := openAt(t, srv, tc.host, tc.query)
		require.NoError(t, err)
		require.NoError(t, db.PingContext(t.Context()))
		assert.Equal(t, tc.want, (<-states).ServerName, "%s %s", tc.host, tc.query)
	}
}

func TestTLS_ClientCertificate_IsRequiredAndChecked(t *testing.T) {
	withoutDefaults(t)
	ours, others := newAuthority(t), newAuthority(t)
	demanding := serving(ours.issue(t))
	demanding.ClientAuth, demanding.ClientCAs = tls.RequireAndVerifyClientCert, ours.pool()
	root := "sslmode=verify-full&sslrootcert=" + ours.file(t)
	cert, key := files(t, ours.issue(t))
	foreignCert, foreignKey := files(t, others.issue(t))
	for name, tc := range map[string]struct{ query, want string }{
		"the right one": {"&sslcert=" + cert + "&sslkey=" + key, ""},
		"none":          {"", "certificate required"},
		// Go's client keeps back what the server won't take.
		"one of others":   {"&sslcert=" + foreignCert + "&sslkey=" + foreignKey, "tls: "},
		"without its key": {"&sslcert=" + cert, "sslcert and sslkey must be given together"},
		"another's key":   {"&sslcert=" + cert + "&sslkey=" + foreignKey, "are not a certificate and its key"},
		"no such file":    {"&sslcert=/nowhere&sslkey=" + key, "the file that sslcert names can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, states := startTLS(t, demanding, func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} })
			db, err := openAt(t, srv, tlsHost, root+tc.query)
			if err == nil {
				err = db.PingContext(t.Context())
			}
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				assert.Zero(t, srv.Connections())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "app", (<-states).PeerCertificates[0].Subject.CommonName)
		})
	}
}

// A host that is not who it says it is gets nothing; the next one in the DSN is asked.
func TestTLS_UntrustedHost_NextHostIsAsked(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	ok := func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} }
	impostor, _ := startTLS(t, serving(newAuthority(t).issue(t)), ok)
	srv, states := startTLS(t, serving(ours.issue(t)), ok)
	hostOf := func(s *fakepg.Server) string {
		return strings.Split(strings.TrimPrefix(s.DSN(), "postgresql://app@"), "/")[0]
	}
	hosts := hostOf(impostor) + "," + hostOf(srv)
	db := kit.Open(t, "postgresql://app:pw@"+hosts+"/fake?sslmode=verify-full&sslrootcert="+ours.file(t))
	require.NoError(t, db.PingContext(t.Context()))
	assert.NotNil(t, <-states)
	assert.Zero(t, impostor.Connections())
	assert.Zero(t, impostor.PlainStarts())
}

// The whole conversation, a conflict and its replay included, goes over one verified connection.
func TestTLS_Replay_UsesTheVerifiedConnection(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	srv, states := startTLS(t, serving(ours.issue(t)), kit.Script{
		"SELECT v": {kit.Texts("a")}, "UPDATE b": {kit.Conflict, kit.OK}, kit.Release: {kit.Conflict, kit.OK},
	}.Reply)
	db, err := openAt(t, srv, tlsHost, kit.NoWaits+"&sslmode=verify-full&sslrootcert="+ours.file(t))
	require.NoError(t, err)
	for range 2 { // the second time, the connection has been looked at
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		var v string
		require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v").Scan(&v))
		kit.Exec(t, tx, "UPDATE b")
		require.NoError(t, tx.Commit())
		assert.Equal(t, "a", v)
	}
	assert.NotNil(t, <-states)
	assert.Equal(t, 1, srv.Connections())
	assert.Zero(t, srv.PlainStarts())
	assert.Equal(t, 3, strings.Count(strings.Join(srv.Sent(), ";"), "RELEASE"), "lost, won; won")
}

// Cancelling a statement is said to the server over a second connection, whose bytes would let others cancel too.
func TestTLS_CancelRequest_IsEncrypted(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	running := make(chan struct{}, 1)
	srv, _ := startTLS(t, serving(ours.issue(t)), func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == "UPDATE slow" && !s.Describing {
			running <- struct{}{}
			return kit.Slow
		}
		return fakepg.Reply{}
	})
	db, err := openAt(t, srv, tlsHost, "sslmode=verify-full&sslrootcert="+ours.file(t))
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-running
		cancel()
	}()
	_, err = tx.ExecContext(ctx, "UPDATE slow")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool { return srv.Cancels() == 1 }, time.Minute, time.Millisecond)
	assert.Zero(t, srv.PlainStarts())
}
