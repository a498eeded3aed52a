#!lua flags=allow-oom
local s=KEYS[2]
if redis.call('HGET',s,'begun')~='1' then return 0 end
redis.call('HSET',s,'errors',redis.call('INFO','stats'):match('total_error_replies:(%d+)'))
return 1
