#!lua flags=allow-oom
local A,p=ARGV,redis.pcall
for i=1,#A,2 do local r=p(A[i],A[i+1])
if type(r)=='table' then
local s=p('SET',KEYS[1],1,'PX',1)
if s.err then return s end
return r.err:find('^WRONGTYPE') and i*2-1 or (i-1)/2 ..' '..r.err
end end
return 0
