/* hiredis: commands are appended to a buffer, which the first wait for a reply writes out. */

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS "60"
/* In which a connection that was killed is certainly closed. */
#define KILLED_NANOSECONDS 200000000

static redisContext *connect_to(int port)
{
    redisContext *client = redisConnect("127.0.0.1", port);
    if (client == NULL || client->err) abort();
    return client;
}

static long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void note(redisContext *client, const char *user, const char *token, const char *value, size_t bytes)
{
    redisAppendCommand(client, "SETEX rt:%s:%s " SECONDS " %b", user, token, value, bytes);
    redisAppendCommand(client, "SADD sess:%s %s", user, token);
    redisAppendCommand(client, "EXPIRE sess:%s " SECONDS, user);
    redisAppendCommand(client, "SMEMBERS sess:%s", user);
}

static int is_right(int place, const redisReply *reply, const char *token)
{
    if (place == 0) return reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0;
    if (place < 3) return reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 && strcmp(reply->element[0]->str, token) == 0;
}

static void play(int port, int groups, size_t bytes, const char *name)
{
    redisContext *client = connect_to(port);
    char *value = malloc(bytes);
    memset(value, 'v', bytes);
    printf("{\"took_us\": [");
    for (int n = 0; n < groups; n++) {
        char user[100], token[20];
        snprintf(user, sizeof user, "%s-%d", name, n);
        snprintf(token, sizeof token, "t%d", n);
        long start = now_us();
        note(client, user, token, value, bytes);
        for (int place = 0; place < 4; place++) {
            redisReply *reply;
            if (redisGetReply(client, (void **)&reply) != REDIS_OK || !is_right(place, reply, token)) abort();
            freeReplyObject(reply);
        }
        printf("%s%ld", n ? ", " : "", now_us() - start);
    }
    printf("]}\n");
    free(value);
    redisFree(client);
}

static void tell(redisContext *client)
{
    redisReply *reply;
    if (redisGetReply(client, (void **)&reply) != REDIS_OK) {
        /* Whether the write or the read notices it first is chance. */
        printf("\"lost\"");
        return;
    }
    printf("\"%d %lld %s\"", reply->type, reply->integer, reply->str ? reply->str : "");
    freeReplyObject(reply);
}

static void checks(int port)
{
    redisContext *client = connect_to(port), *other = connect_to(port);
    freeReplyObject(redisCommand(client, "SET sess:bad text"));
    note(client, "bad", "t", "v", 1);
    printf("{\"said\": {\"error in a group\": [");
    for (int place = 0; place < 4; place++) {
        tell(client);
        printf(place < 3 ? ", " : "], \"killed connection\": ");
    }
    redisReply *id = redisCommand(client, "CLIENT ID");
    freeReplyObject(redisCommand(other, "CLIENT KILL ID %lld", id->integer));
    freeReplyObject(id);
    nanosleep(&(struct timespec){.tv_nsec = KILLED_NANOSECONDS}, NULL);
    redisAppendCommand(client, "INCR killed");
    tell(client);
    printf("}}\n");
    redisFree(client);
    redisFree(other);
}

int main(void)
{
    char line[1000], style[30], name[50];
    int port, groups;
    size_t bytes;
    setvbuf(stdout, NULL, _IOLBF, 1 << 20);
    printf("{\"version\": \"%d.%d.%d\", \"styles\": [\"pipeline\"]}\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "{\"style\": \"%29[^\"]\", \"port\": %d, \"bytes\": %zu, \"groups\": %d, \"name\": \"%49[^\"]\"", style, &port,
                   &bytes, &groups, name) != 5)
            abort();
        if (strcmp(style, "checks") == 0)
            checks(port);
        else
            play(port, groups, bytes, name);
        fflush(stdout);
    }
    return 0;
}
