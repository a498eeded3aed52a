local A,p,g=ARGV,redis.pcall,KEYS[1]
local function int(s,x,l)
if not s or type(s)=='table' or s=='0' then return end
local d,m=s:match('^-?([1-9]%d*)$'),'9223372036854775807'
if s:byte()==45 then x,m=l,'9223372036854775808' end
if not d or #d>19 or #d==19 and d>m then return 1 end
if #d>#x or #d==#x and d>x then return 2 end
end
local function dec(s)
if s and type(s)~='table' and not(#s<=300 and s:find('%d') and s:find('^[+-]?%d*%.?%d*$')) then return 1 end
end
local function less(a,b) return #a<#b or #a==#b and a<b end
local function look()
local i,n=1,-1
while A[i] do
local o,k,x,r,e=A[i],A[i+1],A[i+2]
i,n=i+3,n+1
if #o>1 then r=p(o,k)
elseif o=='I' then r=p('GET',k) e=int(r,x,A[i]) i=i+1
elseif o=='F' then r=p('GET',k) e=dec(r)
elseif o=='i' then r=p('HGET',k,A[i+1]) e=int(r,x,A[i]) i=i+2
elseif o=='f' then r=p('HGET',k,x) e=dec(r)
elseif o=='L' then r=p('STRLEN',k) if type(r)=='number' and r>tonumber(x) then e=1 end
elseif o=='T' then r=p('TYPE',k)
if r.ok then
local t=r.ok
if not (' none string list set zset hash stream '):find(' '..t..' ',1,true) then t='other' end
if x:find(' '..t..' ',1,true) then e=1 end
end
elseif o=='P' then r=p('PTTL',k) if type(r)=='number' and r<=tonumber(x) then e=1 end
elseif o=='V' then r=p('GET',k) if type(r)~='table' and r~=x then e=1 end
elseif o=='E' then r=p('LLEN',k) if r==0 then e=1 elseif type(r)=='number' and r<tonumber(x) then e=2 end
elseif o=='H' then r=p('GETRANGE',k,0,15)
if r=='' then if p('EXISTS',k)~=0 then e=1 end
elseif type(r)=='string' then
local c=r:byte(5)
if #r<16 or r:sub(1,4)~='HYLL' or c>1 or c==0 and p('STRLEN',k)~=12304 then e=1 end
end
elseif o=='S' then r=p('XINFO','STREAM',k)
if r.err then if r.err:find('no such key',1,true) then r=nil end
else for j=1,#r,2 do if r[j]=='last-generated-id' then
local a,b=r[j+1]:match('^(%d+)-(%d+)$')
if not (less(a,x) or a==x and less(b,A[i])) then e=1 end
end end end
i=i+1
else r=p('XINFO','GROUPS',k)
local f
if r.err then if r.err:find('no such key',1,true) then r=nil end
else for _,q in ipairs(r) do for j=1,#q,2 do if q[j]=='name' and q[j+1]==x then f=1 end end end end
if (o=='G')~=(f==1) and not (r and r.err) then e=1 end
end
if not e and type(r)=='table' and r.err then e=r.err:find('^WRONGTYPE') and 0 or r.err end
if e then return n,e end
end
end
local ok,n,e=pcall(look)
if not ok then n,e=0,'ERR '..tostring(n) end
if not n then return 0 end
local s=p('SET',g,1,'PX',1)
if s.err then return s end
p('DEL',g)
return type(e)=='number' and n*4+e+1 or n..' '..e
