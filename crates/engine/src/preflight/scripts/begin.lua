#!lua flags=allow-oom
local p,g,s=redis.pcall,KEYS[1],KEYS[2]
local function no(why)
local r=p('SET',g,1,'PX',1)
if r.err then return r end
p('DEL',g,s)
return why
end
local may=redis.acl_check_cmd
if p('EXISTS',g)~=1 then return no('the guard could not be set') end
p('DEL',s)
local room=tonumber(ARGV[1])
local keep={'begun','1'}
for i=3,#KEYS do
local k=KEYS[i]
local m=p('MEMORY','USAGE',k)
if type(m)=='table' then return no(m.err) end
if not (may('RESTORE',k,'0','','REPLACE','ABSTTL') and may('DEL',k)) then return no('this user may not RESTORE and DEL its keys') end
if m then
room=room-m
if room<0 then return no('its keys take more than rollback_bytes_max ('..ARGV[1]..') of memory') end
local f,d,t='d',nil,p('PEXPIRETIME',k)
if p('TYPE',k).ok=='string' and may('GET',k) and may('SET',k,'') then f,d='s',p('GET',k) else d=p('DUMP',k) end
if type(d)~='string' then return no(d and d.err or 'a key went away while it was kept') end
if type(t)~='number' then return no(t.err) end
keep[#keep+1]=f..i keep[#keep+1]=d
keep[#keep+1]='t'..i keep[#keep+1]=t
end
end
local r=p('INFO','stats')
if type(r)~='string' or not r:find('total_error_replies:') then return no(type(r)=='table' and r.err or 'the server does not count its errors') end
for i=1,#keep,2 do
r=p('HSET',s,keep[i],keep[i+1])
if type(r)~='number' then return no(r.err) end
end
r=p('PEXPIRE',s,ARGV[2])
if r~=1 then return no(r.err or 'what is kept went away') end
return 0
