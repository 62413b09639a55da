-- Invalidate rows and whole tables, all of a transaction at once. KEYS: generation, clock; epoch, schemes, marks of each
-- table. ARGV: shift, random, prefix of the stamps; then for each item the number of its table, its name, and the number
-- of its fields (-1: the whole table), each field followed by its digest. Returns TIME.
local random, prefix = ARGV[2], ARGV[3]
local now = now_us(tonumber(ARGV[1]))
local current = generation(KEYS[1], KEYS[2], now, random)

local known, renewed = {}, {}

local function whole_table(t, name)
    if not renewed[t] then
        local e = 3 * t
        renew(KEYS[e], KEYS[e + 1], KEYS[e + 2], current, now, random .. '.' .. t)
        redis.call('HSET', KEYS[e + 2], 'all', text(now), 'last', text(now))
        renewed[t] = true
    end
end

local function row(t, name, digests)
    local e = 3 * t
    if renewed[t] then
        return
    elseif not is_whole(KEYS[e], KEYS[e + 1], KEYS[e + 2], current) then
        return whole_table(t, name)
    end
    known[t] = known[t] or redis.call('HKEYS', KEYS[e + 1])
    for _, scheme in ipairs(known[t]) do
        local parts, covered = {}, scheme ~= '@'
        for field in string.gmatch(scheme, '[^,]+') do
            covered = covered and digests[field]
            parts[#parts + 1] = digests[field]
        end
        if covered then
            local stamp_key = prefix .. 'stamp:' .. name .. ':' .. scheme .. ':' .. table.concat(parts)
            redis.call('UNLINK', stamp_key)
            redis.call('HSET', KEYS[e + 2], bucket(stamp_key), text(now))
        end
    end
    redis.call('HSET', KEYS[e + 2], 'last', text(now))
end

local i = 4
while i <= #ARGV do
    local t, name, fields = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
    i = i + 3
    if fields < 0 then
        whole_table(t, name)
    else
        local digests = {}
        for f = 1, fields do
            digests[ARGV[i]] = ARGV[i + 1]
            i = i + 2
        end
        row(t, name, digests)
    end
end
return text(now)
