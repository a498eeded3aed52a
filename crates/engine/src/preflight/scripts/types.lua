local A,p,g,r=ARGV,redis.pcall,KEYS[1]
for i=1,#A,2 do r=p(A[i],A[i+1])
if type(r)>'s'then redis.call('SET',g,1,'PX',1)p('DEL',g)return i..r.err end end
return 0