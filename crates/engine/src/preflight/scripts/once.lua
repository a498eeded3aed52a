local m=KEYS[2]
local v=redis.pcall('GET',m)
if v then
local r=v.err or redis.pcall('GET',m..':'..(v:match('^1 %d+ (%x+)$') or ''))
local s=redis.pcall('SET',KEYS[1],1,'PX',1)
if s.err then return s end
redis.pcall('DEL',KEYS[1])
if v.err then return 'once '..v.err end
local t=redis.pcall('PTTL',m)
return {type(t)=='number' and t or -1,v,type(r)=='string' and r or ''}
end
