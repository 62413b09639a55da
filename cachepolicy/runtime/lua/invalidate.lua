-- Invalidate rows and whole tables, all of a transaction at once. KEYS: generation, clock; epoch, schemes, marks of each
-- table. ARGV: shift, random, prefix of the stamps; then for each item the number of its table, its name, and the number
-- of its fields (-1: the whole table), each field followed by its digest. Returns TIME.
local random, prefix = ARGV[2], ARGV[3]
local now = now_us(tonumber(ARGV[1]))
local current = generation(KEYS[1], KEYS[2], now, random)
local instant_now = text(now)

local known, renewed, void = {}, {}, {}

local function whole_table(t)
    if not renewed[t] then
        local e = 3 * t
        renew(KEYS[e], KEYS[e + 1], KEYS[e + 2], current, now, random .. '.' .. t)
        redis.call('HSET', KEYS[e + 2], 'all', instant_now, 'last', instant_now)
        renewed[t] = true
    end
end

local function row(t, name, digests)
    local e = 3 * t
    if renewed[t] then
        return
    elseif not known[t] then
        if not is_whole(KEYS[e], KEYS[e + 1], KEYS[e + 2], current) then
            return whole_table(t)
        end
        known[t] = redis.call('HKEYS', KEYS[e + 1])
        redis.call('HSET', KEYS[e + 2], 'last', instant_now)
    end
    for _, scheme in ipairs(known[t]) do
        local parts, covered = {}, scheme ~= '@'
        for field in string.gmatch(scheme, '[^,]+') do
            covered = covered and digests[field]
            parts[#parts + 1] = digests[field]
        end
        local stamp_key = prefix .. 'stamp:' .. name .. ':' .. scheme .. ':' .. table.concat(parts)
        -- A row as it was and as it is share most of their stamps.
        if covered and not void[stamp_key] then
            void[stamp_key] = true
            redis.call('UNLINK', stamp_key)
            redis.call('HSET', KEYS[e + 2], bucket(stamp_key), instant_now)
        end
    end
end

local i = 4
while i <= #ARGV do
    local t, name, fields = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
    i = i + 3
    if fields < 0 then
        whole_table(t)
    else
        local digests = {}
        for f = 1, fields do
            digests[ARGV[i]] = ARGV[i + 1]
            i = i + 2
        end
        row(t, name, digests)
    end
end
return instant_now
