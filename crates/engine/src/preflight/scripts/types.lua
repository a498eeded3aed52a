local A,p,g=ARGV,redis.pcall,KEYS[1]
for i=1,#A,2 do local r=p(A[i],A[i+1])
if type(r)=='table' then redis.call('SET',g,1,'PX',1) p('DEL',g) return (i-1)/2 ..' '..r.err end end
return 0