-- Shared by every script: Redis' time, and the record that each table has.
--
-- A record is three keys that carry one epoch: the epoch itself (entries depend on it), the schemes (scheme -> when it
-- became known) and the marks (bucket -> when a row in it was last invalidated). Where one of them is gone, evicted or
-- lost in a restart, or was written by a clock that was set back since, the record is made anew: entries of the table are
-- void, and fills begun before it are refused.

local BUCKET_DIGITS = 3

local function text(us)
    return string.format('%.0f', us)
end

local function now_us(shift)
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2]) + shift
end

-- The high-water mark of Redis' clock; a clock below it was set back, and what was stored before is of unknown age.
local function generation(generation_key, clock_key, now, random)
    local stored = redis.call('MGET', generation_key, clock_key)
    local found, highest = stored[1], tonumber(stored[2] or '0')
    if now < highest or not found then
        found = 'g' .. random .. '.' .. text(now)
        redis.call('SET', generation_key, found)
    end
    redis.call('SET', clock_key, text(now))
    return found
end

-- The epoch of a record, false where it is not whole; and when it was made, invalidated as a whole and last at all.
local function is_whole(epoch_key, schemes_key, marks_key, current)
    local epoch = redis.call('GET', epoch_key)
    if not epoch or redis.call('HGET', schemes_key, '@') ~= epoch then
        return false
    end
    local marks = redis.call('HMGET', marks_key, '@', 'generation', 'made', 'all', 'last')
    if marks[1] ~= epoch or marks[2] ~= current then
        return false
    end
    return epoch, tonumber(marks[3] or '0'), tonumber(marks[4] or '0'), tonumber(marks[5] or '0')
end

-- With the time, for a client that repeats a command whose reply was lost repeats its random text: another's
-- invalidation in between would be undone by the epoch of before.
local function renew(epoch_key, schemes_key, marks_key, current, now, random)
    local epoch = random .. '.' .. text(now)
    redis.call('SET', epoch_key, epoch)
    redis.call('HSET', schemes_key, '@', epoch)
    redis.call('UNLINK', marks_key)
    redis.call('HSET', marks_key, '@', epoch, 'generation', current, 'made', text(now))
end

local function bucket(conj_key)
    return string.sub(redis.sha1hex(conj_key), 1, BUCKET_DIGITS)
end

local function instant(marks_key, field)
    return tonumber(redis.call('HGET', marks_key, field) or '0')
end
