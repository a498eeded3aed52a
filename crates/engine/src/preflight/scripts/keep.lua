#!lua flags=allow-oom
local p,g,s=redis.pcall,KEYS[1],KEYS[2]
local function keep()
local may=redis.acl_check_cmd
p('DEL',s)
local room=tonumber(ARGV[1])
local all={'begun','1'}
for i=3,#KEYS do
local k=KEYS[i]
local m=p('MEMORY','USAGE',k)
if type(m)=='table' then return m.err end
if not (may('RESTORE',k,'0','','REPLACE','ABSTTL') and may('DEL',k)) then return 'this user may not RESTORE and DEL its keys' end
if m then
room=room-m
if room<0 then return 'its keys take more than rollback_bytes_max ('..ARGV[1]..') of memory' end
local f,d,t='d',nil,p('PEXPIRETIME',k)
if p('TYPE',k).ok=='string' and may('GET',k) and may('SET',k,'') then f,d='s',p('GET',k) else d=p('DUMP',k) end
if type(d)~='string' then return d and d.err or 'a key went away while it was kept' end
if type(t)~='number' then return t.err end
all[#all+1]=f..i all[#all+1]=d
all[#all+1]='t'..i all[#all+1]=t
end
end
local r=p('INFO','stats')
if type(r)~='string' or not r:find('total_error_replies:') then return type(r)=='table' and r.err or 'the server does not count its errors' end
for i=1,#all,2 do
r=p('HSET',s,all[i],all[i+1])
if type(r)~='number' then return r.err end
end
r=p('PEXPIRE',s,ARGV[2])
if r~=1 then return r.err or 'what is kept went away' end
end
