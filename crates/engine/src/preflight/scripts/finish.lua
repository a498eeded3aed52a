#!lua flags=allow-oom
local p,g,s=redis.pcall,KEYS[1],KEYS[2]
local now=redis.call('INFO','stats'):match('total_error_replies:(%d+)')
local was=redis.call('HGET',s,'errors')
if not was then p('DEL',g,s) return 'nothing was kept' end
if was==now then p('DEL',g,s) return 0 end
local bad
for i=3,#KEYS do
local k=KEYS[i]
local v,d,t=redis.call('HGET',s,'s'..i),redis.call('HGET',s,'d'..i),redis.call('HGET',s,'t'..i)
local r
if v then
if p('GET',k)~=v or tostring(p('PEXPIRETIME',k))~=t then
if t=='-1' then r=p('SET',k,v) else r=p('SET',k,v,'PXAT',t) end
end
elseif not d then r=p('DEL',k)
elseif p('DUMP',k)~=d or tostring(p('PEXPIRETIME',k))~=t then
if t=='-1' then t='0' end
r=p('RESTORE',k,t,d,'REPLACE','ABSTTL')
end
if type(r)=='table' and r.err then bad=bad or r.err end
end
p('DEL',g,s)
return bad or 1
