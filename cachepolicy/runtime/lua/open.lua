-- Make the records of tables that have none. KEYS: generation, clock, then epoch, schemes, marks of each table.
-- ARGV: shift of the clock, random, '1' where the caller saw Redis' clock set back. Returns the generation, and TIME.
local now = now_us(tonumber(ARGV[1]))
if ARGV[3] == '1' then
    redis.call('DEL', KEYS[1])
end
local current = generation(KEYS[1], KEYS[2], now, ARGV[2])
for i = 3, #KEYS, 3 do
    if not is_whole(KEYS[i], KEYS[i + 1], KEYS[i + 2], current) then
        renew(KEYS[i], KEYS[i + 1], KEYS[i + 2], current, now, ARGV[2] .. '.' .. i)
    end
end
return {current, text(now)}
