#!lua flags=allow-oom
for i=1,#ARGV,2 do local r=redis.pcall(ARGV[i],ARGV[i+1])
if type(r)=='table' then redis.call('SET',KEYS[1],1,'PX',1)return (i-1)/2 ..' '..r.err end end
return 0