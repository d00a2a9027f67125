-- Adds a batch of deltas to the counters, at most once.
--
-- KEYS     1 hash of all counters, 2 the number of the last batch that this process has added
-- ARGV     the batch's number, then names and deltas in turn
-- returns  the counters' values, in the order of the names

local counters, seen = KEYS[1], KEYS[2]
local number = tonumber(ARGV[1])
local new = number > tonumber(redis.call('GET', seen) or '0')

local names = {}
for i = 2, #ARGV, 2 do
  local name, delta = ARGV[i], ARGV[i + 1]
  names[#names + 1] = name
  if new and delta ~= '0' then
    local done = redis.pcall('HINCRBY', counters, name, delta)
    if type(done) == 'table' and done.err then
      if string.find(done.err, 'overflow', 1, true) then
        local negative = string.sub(delta, 1, 1) == '-'
        redis.call('HSET', counters, name, negative and '-9223372036854775808' or '9223372036854775807')
      elseif string.find(done.err, 'not an integer', 1, true) then
        redis.call('HSET', counters, name, delta)
      else
        -- The store refuses writes (memory, replica, type): the first one fails too, so nothing is added in part.
        return done
      end
    end
  end
end
-- Kept for longer than any outage after which the batch might be sent again: a day.
if new then redis.call('SET', seen, ARGV[1], 'PX', 86400000) end
return redis.call('HMGET', counters, unpack(names))
