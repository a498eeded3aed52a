local why
if p('EXISTS',g)~=1 then why='the guard could not be set' else why=keep() end
if not why then return 0 end
local r=p('SET',g,1,'PX',1)
if r.err then return r end
p('DEL',g,s)
return why
