package dsnurl

import (
	"slices"
	"strings"
)

// Distance counts the letters between a key and a setting's name, which begins with retry_ or not. Separators and case
// don't count, nor does the order of the words, nor a missing "retry".
func Distance(key, setting string) int {
	if sortedWords(key) == sortedWords(setting) {
		return 0
	}
	got := letters(key[:min(len(key), longestKey)])
	whole := editDistance(got, letters(setting))
	// A name without its "retry" has fewer letters to be told apart by, so a slip costs double there.
	return min(whole, 2*editDistance(got, letters(strings.TrimPrefix(setting, "retry_"))))
}

// longestKey is how much of a key is looked at: no setting's name is as long.
const longestKey = 64

func letters(key string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
}

func sortedWords(key string) string {
	return strings.Join(slices.Sorted(strings.SplitSeq(strings.ToLower(key), "_")), "_")
}

// editDistance counts the letters to insert, remove, replace or swap with their neighbour to get from a to b.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
