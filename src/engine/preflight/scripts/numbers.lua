#!lua flags=allow-oom
local A,p,i,n=ARGV,redis.pcall,1,-1
while A[i] do
local o,k,x,r,e=A[i],A[i+1],A[i+2]
i,n=i+3,n+1
if #o>1 then r=p(o,k)
else
if o=='I' then r=p('GET',k) else r=p('HGET',k,A[i]) i=i+1 end
if r and type(r)~='table' and r~='0' then
local d=r:match('^-?([1-9]%d*)$')
if not d or #d>19 or #d==19 and d>'9223372036854775807' then e=1
elseif #d>#x or #d==#x and d>x then e=2 end
end
end
if type(r)=='table' then e=r.err:find('^WRONGTYPE') and 0 or r.err end
if e then
local s=p('SET',KEYS[1],1,'PX',1)
if s.err then return s end
return type(e)=='number' and n*4+e+1 or n..' '..e
end
end
return 0
