"""redis-py's asyncio API."""

import asyncio

import redis
import redis.asyncio
from player import KILLED_SECONDS, SECONDS, Group, Watch, groups, serve


def connect(port, **more):
    return redis.asyncio.Redis(host="127.0.0.1", port=port, socket_timeout=SECONDS, **more)


async def close(client):
    await (getattr(client, "aclose", None) or client.close)()


def note(pipe, group):
    pipe.set(group.key, group.value, ex=SECONDS).sadd(group.sessions, group.token)
    return pipe.expire(group.sessions, SECONDS).smembers(group.sessions)


async def piped(client, group):
    return await note(client.pipeline(transaction=False), group).execute()


async def gathered(client, group):
    return await asyncio.gather(
        client.set(group.key, group.value, ex=SECONDS), client.sadd(group.sessions, group.token),
        client.expire(group.sessions, SECONDS), client.smembers(group.sessions),
    )  # fmt: skip


def style(send):
    async def play(client, job, caller):
        watch = Watch()
        for group in groups(job, caller):
            with watch:
                replies = await send(client, group)
            # Separate calls are on separate connections, where nothing keeps their order.
            if send is piped:
                group.check(replies)
        return watch.took_us

    async def all_callers(job):
        client = connect(job["port"])
        await client.ping()
        try:
            played = await asyncio.gather(*(play(client, job, caller) for caller in range(job["callers"])))
        finally:
            await close(client)
        return sum(played, [])

    return lambda job: asyncio.run(all_callers(job))


async def told(call):
    try:
        return repr(await call)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def check(look):
    async def run(port):
        client, other = connect(port, client_name="named"), connect(port)
        try:
            return await look(client, other)
        finally:
            await close(client)
            await close(other)

    return lambda port: asyncio.run(run(port))


async def handshake(client, other):
    return [await told(client.ping()), await told(client.client_getname())]


async def error_in_a_group(client, other):
    group = Group({"name": "bad", "bytes": 1}, 0)
    await client.set(group.sessions, "text")
    replies = await note(client.pipeline(transaction=False), group).execute(raise_on_error=False)
    return [await told(piped(client, group)), *map(repr, replies)]


async def killed_connection(client, other):
    await client.delete("killed")
    await other.client_kill_filter(_id=await client.client_id())
    await asyncio.sleep(KILLED_SECONDS)
    return [await told(client.incr("killed")) for _ in range(3)] + [await told(other.get("killed"))]


serve(
    redis.__version__,
    {"pipeline": style(piped), "pipelines": style(piped), "gather": style(gathered)},
    {"handshake": check(handshake), "error in a group": check(error_in_a_group), "killed connection": check(killed_connection)},
)
