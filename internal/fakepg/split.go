package fakepg

import "strings"

// split cuts the text of a Query at its semicolons, leaving alone those in quotes, in $tags$ and in comments.
func split(sql string) []string {
	var all []string
	start := 0
	for i := 0; i < len(sql); {
		if sql[i] == ';' {
			all = appendStatement(all, sql[start:i])
			start = i + 1
		}
		i += tokenLen(sql[i:])
	}
	return appendStatement(all, sql[start:])
}

func appendStatement(all []string, sql string) []string {
	if sql = strings.TrimSpace(sql); sql != "" {
		all = append(all, sql)
	}
	return all
}

// tokenLen is the length of the quoted or commented stretch that s begins with, or 1.
func tokenLen(s string) int {
	switch {
	case s[0] == '\'' || s[0] == '"':
		return upTo(s, 1, s[:1])
	case strings.HasPrefix(s, "--"):
		return upTo(s, 2, "\n")
	case strings.HasPrefix(s, "/*"):
		return upTo(s, 2, "*/")
	case s[0] == '$':
		if tag := dollarTag(s); tag != "" {
			return upTo(s, len(tag), tag)
		}
	}
	return 1
}

func upTo(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

// dollarTag is $$ or $name$ at the beginning of s; $1 is a parameter.
func dollarTag(s string) string {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 || strings.ContainsAny(s[1:1+end], " \t\n,;()'\"") || (end > 0 && s[1] >= '0' && s[1] <= '9') {
		return ""
	}
	return s[:end+2]
}
