"""SQL's own words, as data: functions that change nothing, what may stand before a parenthesis, transactions."""

from __future__ import annotations

from typing import Final

__all__ = ["ACCESS", "BEGINNING", "ENDING", "ISOLATION", "PRAGMAS", "PURE_FUNCTIONS", "SYNTAX"]

_AGGREGATES: Final = """
    any_value array_agg avg bit_and bit_or bit_xor bitxor bool_and bool_or corr count covar_pop covar_samp cume_dist
    dense_rank every first_value group_concat grouping json_agg json_arrayagg json_group_array json_group_object
    json_objectagg jsonb_agg jsonb_group_array jsonb_group_object jsonb_object_agg json_object_agg lag last_value lead
    max median min mode nth_value ntile percent_rank percentile_cont percentile_disc rank regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number std stddev stddev_pop
    stddev_samp string_agg sum total range_agg range_intersect_agg var_pop var_samp variance xmlagg
"""
_NUMBERS: Final = """
    abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh bin bit_count bit_length bitand cbrt ceil
    ceiling conv cos cosd cosh cot cotd crc32 degrees div erf erfc exp factorial floor format gcd hex lcm ln log log10
    log2 mod oct pi pow power radians rand random randomblob round scale setseed sign sin sind sinh sqrt tan tand tanh
    to_hex trim_scale trunc truncate unhex width_bucket
"""
_TEXTS: Final = """
    ascii btrim char char_length character_length chr coalesce collate concat concat_ws convert convert_from convert_to
    decode elt encode export_set field find_in_set format from_base64 glob greatest ifnull iif initcap insert instr
    isnull lcase least left length like likelihood likely locate lower lpad ltrim make_set md5 mid normalize nullif nvl
    nvl2 octet_length ord overlay parse_ident position printf quote quote_ident quote_literal quote_nullable
    regexp regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim sha sha1 sha2 sha224 sha256 sha384
    sha512 similarity soundex space split_part starts_with strcmp string_to_array string_to_table strict_word_similarity
    strpos substr substring substring_index to_ascii to_base64 translate trim typeof ucase unaccent unicode unistr
    unlikely upper weight_string word_similarity zeroblob digest hmac gen_random_bytes
"""
_DATES: Final = """
    adddate addtime age clock_timestamp convert_tz curdate current_date current_time current_timestamp curtime date
    date_add date_bin date_format date_part date_sub date_trunc datediff datetime day dayname dayofmonth dayofweek
    dayofyear extract from_days from_unixtime get_format hour isfinite julianday justify_days justify_hours
    justify_interval last_day localtime localtimestamp make_date make_interval make_time make_timestamp make_timestamptz
    makedate maketime microsecond minute month monthname now period_add period_diff quarter sec_to_time second
    statement_timestamp str_to_date strftime subdate subtime sysdate time time_format time_to_sec timediff timeofday
    timestamp timestampadd timestampdiff timezone to_char to_date to_days to_number to_seconds to_timestamp
    transaction_timestamp unix_timestamp unixepoch utc_date utc_time utc_timestamp week weekday weekofyear year yearweek
"""
_STRUCTURES: Final = """
    json json_array json_array_elements json_array_elements_text json_array_insert json_array_length json_build_array
    json_build_object json_contains json_contains_path json_depth json_each json_each_text json_exists json_extract
    json_extract_path json_extract_path_text json_insert json_keys json_length json_merge_patch json_merge_preserve
    json_object json_object_keys json_overlaps json_patch json_populate_record json_pretty json_query json_quote
    json_remove json_replace json_search json_serialize json_set json_strip_nulls json_table json_to_record
    json_to_recordset json_tree json_type json_typeof json_unquote json_valid json_value jsonb jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists
    jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set
    jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb
    array array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
    array_positions array_prepend array_remove array_replace array_sample array_shuffle array_sort array_to_json
    array_to_string array_upper cardinality generate_series generate_subscripts trim_array unnest
    akeys avals hstore hstore_to_json hstore_to_jsonb skeys svals
    daterange int4range int8range isempty lower_inc lower_inf multirange numrange range_merge tsrange tstzrange
    upper_inc upper_inf numnode phraseto_tsquery plainto_tsquery querytree setweight strip to_tsquery to_tsvector
    ts_debug ts_headline ts_lexize ts_rank ts_rank_cd ts_rewrite tsvector_to_array websearch_to_tsquery
    bm25 highlight snippet match
    abbrev broadcast family host hostmask inet6_aton inet6_ntoa inet_aton inet_ntoa masklen netmask network
    gen_random_uuid uuid uuid_generate_v1 uuid_generate_v4 uuid_short uuid_to_bin bin_to_uuid uuidv4 uuidv7 is_uuid
    box box2d box3d center circle diameter geometrycollection isclosed isopen line linestring lseg multilinestring
    multipoint multipolygon path point polygon radius
"""
# They tell of the session, or wait; no row of a table is another one for it.
_SESSIONS: Final = """
    changes col_description connection_id current_catalog current_database current_query current_role current_schema
    current_schemas current_setting current_user currval database found_rows get_lock has_schema_privilege
    has_table_privilege is_free_lock is_used_lock last_insert_id last_insert_rowid lastval nextval obj_description
    pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
    pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_backend_pid pg_column_size pg_current_snapshot
    pg_current_wal_lsn pg_current_xact_id pg_database_size pg_get_constraintdef pg_get_expr pg_get_indexdef
    pg_get_serial_sequence pg_get_viewdef pg_indexes_size pg_is_in_recovery pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_relation_size pg_size_pretty pg_sleep pg_table_is_visible pg_table_size
    pg_total_relation_size pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared pg_typeof release_all_locks release_lock row_count schema session_user setval
    sleep sqlite_compileoption_used sqlite_source_id sqlite_version to_regclass total_changes txid_current user
    version
"""
# Of Django's SQLite backend.
_DJANGO: Final = """
    django_date_extract django_date_trunc django_datetime_cast_date django_datetime_cast_time django_datetime_extract
    django_datetime_trunc django_format_dtdelta django_time_diff django_time_extract django_time_trunc
    django_timestamp_diff
"""

PURE_FUNCTIONS: Final = frozenset(
    " ".join((_AGGREGATES, _NUMBERS, _TEXTS, _DATES, _STRUCTURES, _SESSIONS, _DJANGO)).split()
)

# No function is called by these: operators, clauses, and types with a length.
_SYNTAX: Final = """
    all and any as between by case cast cube desc distinct do else end escape except excluded exists filter for from
    full group having in index inner intersect interval into is join key lateral left like limit materialized minus
    natural not offset on only or order outer over partition recursive returning right rollup row select set sets
    similar some straight_join table then to union unique use using value values when where window with within zone
    bigint binary bit bool character datetime dec decimal double enum float int integer mediumint national nchar
    numeric nvarchar real serial signed smallint text timestamptz timetz tinyint unsigned varbinary varbit varchar
    varying
"""
SYNTAX: Final = frozenset(_SYNTAX.split())

# They tell something, or set what no stored row depends on.
_PRAGMAS: Final = """
    analysis_limit application_id automatic_index busy_timeout cache_size cache_spill case_sensitive_like
    cell_size_check checkpoint_fullfsync collation_list compile_options data_version database_list
    defer_foreign_keys encoding foreign_key_check foreign_key_list foreign_keys freelist_count fullfsync
    function_list hard_heap_limit index_info index_list index_xinfo integrity_check journal_mode journal_size_limit
    legacy_alter_table max_page_count mmap_size module_list optimize page_count page_size pragma_list query_only
    quick_check recursive_triggers reverse_unordered_selects secure_delete shrink_memory soft_heap_limit stats
    synchronous table_info table_list table_xinfo temp_store threads trusted_schema user_version wal_autocheckpoint
    wal_checkpoint
"""
PRAGMAS: Final = frozenset(_PRAGMAS.split())

_BEGINNING: Final = """
    begin committed concurrent consistent deferrable deferred exclusive immediate isolation level not only read
    repeatable serializable snapshot start tran transaction uncommitted with work write
"""
_ENDING: Final = "abort and chain commit end no release rollback tran transaction work"
_ACCESS: Final = "deferrable local not only read session set transaction write"
_ISOLATION: Final = """
    characteristics completion_type default_transaction_isolation isolation transaction transaction_isolation
    tx_isolation
"""

# Of BEGIN and START TRANSACTION, of their ends, and of SET TRANSACTION without an isolation level.
BEGINNING: Final = frozenset(_BEGINNING.split())
ENDING: Final = frozenset(_ENDING.split())
ACCESS: Final = frozenset(_ACCESS.split())

# What SET names where it changes isolation, or what COMMIT does.
ISOLATION: Final = frozenset(_ISOLATION.split())
