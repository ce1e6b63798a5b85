package sqltext

// onlyReads reports whether the statement that the scanner comes to reads and does not write, as far as its text tells.
// It calls no function but those that are known to do no harm.
func onlyReads(s scanner) bool {
	token := s.next()
	for token == tokenSemicolon || token == tokenOther && s.text() == "(" {
		token = s.next()
	}
	if token != tokenWord || !isOneOf(s.text(), "select", "values", "table", "with") {
		return false
	}
	var last [3]string // the latest tokens, the latest first
	for ; token != tokenEnd && token != tokenSemicolon; token = s.next() {
		here := s.text()
		switch {
		case token == tokenOther && here == "(" && callsWriter(last):
			return false
		case token == tokenWord && isWriting(here, last[0]):
			return false
		}
		last = [3]string{here, last[0], last[1]}
	}
	return !s.odd
}

// callsWriter reports whether an opening parenthesis after these tokens, the latest first, calls a function that could
// write.
func callsWriter(last [3]string) bool {
	name := last[0]
	switch {
	case name == "", !isWordByte(name[0]) && name[0] != '"':
		return false // no name
	case last[1] == ".":
		return !isKeyword(last[2], "pg_catalog") || !isHarmless(name)
	case isKeyword(last[1], "as"):
		return false // an alias with its columns
	}
	return !isHarmless(name)
}

// isWriting reports whether a word makes a query write. UPDATE does not after FOR or NO KEY: it locks.
func isWriting(word, before string) bool {
	if isKeyword(word, "update") {
		return !isOneOf(before, "for", "key")
	}
	return isOneOf(word, "insert", "upsert", "delete", "merge", "into")
}

// isHarmless reports whether a word before an opening parenthesis calls nothing that could write.
func isHarmless(word string) bool {
	for _, w := range harmless[min(len(word), len(harmless)-1)] {
		if isKeyword(word, w) {
			return true
		}
	}
	return false
}

// harmless are words, by their length: keywords and types, which call nothing, and functions that only read.
var harmless = func() (table [32][]string) {
	for _, words := range [][]string{
		{ // keywords
			"select", "from", "where", "and", "or", "not", "in", "any", "all", "some", "exists", "as", "on", "using",
			"values", "union", "except", "intersect", "by", "having", "limit", "offset", "case", "when", "then", "else",
			"over", "filter", "group", "within", "join", "lateral", "distinct", "array", "row", "rows", "range", "groups",
			"materialized", "with", "between", "like", "ilike", "is", "of", "to", "sets", "cube", "rollup", "tablesample",
			"bernoulli", "system", "only", "ordinality", "escape", "collate", "interval", "grouping",
		},
		{ // types
			"numeric", "decimal", "dec", "varchar", "char", "character", "varying", "bpchar", "bit", "varbit", "string",
			"float", "time", "timetz", "timestamp", "timestamptz", "text", "int", "int2", "int4", "int8", "bool", "date",
			"uuid", "bytea", "bytes", "json", "jsonb", "inet",
		},
		{ // aggregates and windows
			"count", "sum", "min", "max", "avg", "every", "bool_and", "bool_or", "array_agg", "string_agg", "json_agg",
			"jsonb_agg", "json_object_agg", "jsonb_object_agg", "stddev", "variance", "stddev_pop", "stddev_samp", "var_pop",
			"var_samp", "corr", "mode", "percentile_cont", "percentile_disc", "row_number", "rank", "dense_rank",
			"percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value", "last_value", "nth_value",
		},
		{ // conditions
			"coalesce", "nullif", "greatest", "least", "cast", "num_nulls", "num_nonnulls", "if", "ifnull",
		},
		{ // numbers
			"abs", "ceil", "ceiling", "floor", "round", "trunc", "mod", "div", "power", "pow", "sqrt", "cbrt", "exp", "ln",
			"log", "log10", "sign", "gcd", "lcm", "pi", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "degrees",
			"radians", "random", "width_bucket",
		},
		{ // texts and bytes
			"length", "char_length", "character_length", "octet_length", "bit_length", "lower", "upper", "initcap", "trim",
			"btrim", "ltrim", "rtrim", "lpad", "rpad", "left", "right", "substring", "substr", "position", "strpos",
			"replace", "translate", "overlay", "repeat", "reverse", "concat", "concat_ws", "split_part", "starts_with",
			"format", "ascii", "chr", "md5", "sha256", "sha512", "encode", "decode", "to_hex", "quote_ident",
			"quote_literal", "quote_nullable", "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array",
			"regexp_split_to_table", "string_to_array", "array_to_string", "to_char", "to_number", "to_date",
			"to_timestamp", "to_tsvector", "to_tsquery", "plainto_tsquery", "websearch_to_tsquery", "ts_rank", "similarity",
		},
		{ // times
			"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "age", "extract",
			"date_part", "date_trunc", "date_bin", "make_date", "make_time", "make_timestamp", "make_timestamptz",
			"make_interval", "justify_days", "justify_hours", "justify_interval", "isfinite", "current_timestamp",
			"current_time", "localtime", "localtimestamp", "cluster_logical_timestamp", "pg_sleep",
		},
		{ // arrays, JSON, series, UUIDs
			"unnest", "cardinality", "array_length", "array_lower", "array_upper", "array_ndims", "array_position",
			"array_positions", "array_append", "array_prepend", "array_cat", "array_remove", "array_replace",
			"generate_series", "generate_subscripts", "to_json", "to_jsonb", "row_to_json", "json_build_object",
			"jsonb_build_object", "json_build_array", "jsonb_build_array", "json_extract_path", "jsonb_extract_path",
			"json_extract_path_text", "jsonb_extract_path_text", "json_array_length", "jsonb_array_length",
			"json_array_elements", "jsonb_array_elements", "json_array_elements_text", "jsonb_array_elements_text",
			"json_each", "jsonb_each", "json_each_text", "jsonb_each_text", "json_object_keys", "jsonb_object_keys",
			"json_typeof", "jsonb_typeof", "jsonb_set", "jsonb_insert", "jsonb_pretty", "jsonb_strip_nulls",
			"json_strip_nulls", "gen_random_uuid", "uuid_generate_v4",
		},
		{ // the system
			"version", "current_database", "current_schema", "current_schemas", "current_user", "session_user",
			"current_setting", "pg_typeof", "pg_backend_pid", "obj_description", "col_description", "format_type",
			"pg_get_constraintdef", "pg_get_indexdef", "pg_get_viewdef", "pg_get_expr", "pg_get_userbyid",
			"pg_table_is_visible", "pg_type_is_visible", "pg_is_in_recovery", "has_table_privilege",
			"has_schema_privilege", "has_database_privilege", "has_column_privilege", "to_regclass", "to_regtype",
		},
	} {
		for _, w := range words {
			table[len(w)] = append(table[len(w)], w)
		}
	}
	return table
}()
