if redis.call('HGET',s,'begun')~='1' and keep() then p('DEL',s) return 0 end
redis.call('HSET',s,'errors',redis.call('INFO','stats'):match('total_error_replies:(%d+)'))
return 1
