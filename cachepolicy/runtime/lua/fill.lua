-- Store an entry, unless it may be stale or too old by now: a lease without a round trip of its own (Nishtala et al.,
-- Scaling Memcache at Facebook, NSDI 2013). KEYS: entry, generation, clock; epoch, schemes, marks of each table; stamps.
-- ARGV: shift, random, tables, since (us), birth (us), bound (ms), generation seen, value; then for each stamp the
-- number of its table and its scheme. Returns what became of it, and TIME.
local random, tables = ARGV[2], tonumber(ARGV[3])
local since, birth, bound = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_us(tonumber(ARGV[1]))
local refusal = false
local sum = {generation(KEYS[2], KEYS[3], now, random)}
if sum[1] ~= ARGV[7] then
    refusal = 'everything was invalidated'
end

local last, marks = {}, {}
for t = 1, tables do
    local e = 3 * t + 1
    local epoch, made, all, latest = is_whole(KEYS[e], KEYS[e + 1], KEYS[e + 2], sum[1])
    if not epoch then
        renew(KEYS[e], KEYS[e + 1], KEYS[e + 2], sum[1], now, random .. '.' .. t)
        refusal = 'Redis lost what it knew of a table'
    elseif made > since or all >= since then
        refusal = 'a table was invalidated'
    end
    last[t], marks[t] = latest or 0, KEYS[e + 2]
    sum[#sum + 1] = epoch
end

-- Schemes become known even where the fill is refused: the next one need not fear what came before it.
local first = 3 + 3 * tables
for s = 1, #KEYS - first do
    local t, scheme, stamp_key = tonumber(ARGV[7 + 2 * s]), ARGV[8 + 2 * s], KEYS[first + s]
    local schemes_key = KEYS[3 * t + 2]
    local known = tonumber(redis.call('HGET', schemes_key, scheme) or '-1')
    if known < 0 then
        redis.call('HSET', schemes_key, scheme, text(now))
        known = now
    end
    -- A row invalidated while nobody knew the scheme left no mark in its bucket.
    if known >= since and last[t] >= since then
        refusal = 'a row was invalidated'
    elseif instant(marks[t], bucket(stamp_key)) >= since then
        refusal = 'a row was invalidated'
    end
end

local ttl = math.min(bound, bound - math.ceil((now - birth) / 1000))
if ttl <= 0 then
    refusal = refusal or 'older than its timeout'
end
if refusal then
    return {refusal, text(now)}
end

for s = 1, #KEYS - first do
    local stamp_key = KEYS[first + s]
    local stamp = redis.call('GET', stamp_key)
    if not stamp then
        stamp = random .. ':' .. s
        redis.call('SET', stamp_key, stamp, 'PX', ttl * 2 + 10000)
    elseif redis.call('PTTL', stamp_key) < ttl then
        redis.call('PEXPIRE', stamp_key, ttl * 2 + 10000)
    end
    sum[#sum + 1] = stamp
end
redis.call('SET', KEYS[1], redis.sha1hex(table.concat(sum, ' ')) .. ARGV[8], 'PX', ttl)
return {'', text(now)}
