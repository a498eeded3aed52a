local A,p,i,n=ARGV,redis.pcall,1,-1
while A[i] do
local o,k,x,l,r,e=A[i],A[i+1],A[i+2],A[i+3]
i,n=i+3,n+1
if #o>1 then r=p(o,k)
elseif o=='I' then r,i=p('GET',k),i+1
else r,i=p('HGET',k,A[i+1]),i+2 end
if type(r)=='table' then e=r.err
elseif #o==1 and r and r~='0' then
local d,m=r:match('^-?([1-9]%d*)$'),'9223372036854775807'
if r:byte()==45 then x,m=l,'9223372036854775808' end
if not d or #d>19 or #d==19 and d>m then e=1
elseif #d>#x or #d==#x and d>x then e=2 end
end
if e then redis.call('SET',KEYS[1],1,'PX',1) p('DEL',KEYS[1])
return e==e..'' and n..' '..e or n*4+e+1 end
end
return 0