#!lua flags=allow-oom
local A,p,i,n=ARGV,redis.pcall,1,-1
while A[i] do
local o,k,x,r,e=A[i],A[i+1],A[i+2]
i,n=i+3,n+1
if #o>1 then r=p(o,k)
else
local l=A[i]
if o=='I' then r=p('GET',k) else i=i+1 r=p('HGET',k,A[i]) end
i=i+1
if r and type(r)~='table' and r~='0' then
local d,m=r:match('^-?([1-9]%d*)$'),'9223372036854775807'
if r:byte()==45 then x,m=l,'9223372036854775808' end
if not d or #d>19 or #d==19 and d>m then e=1
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
