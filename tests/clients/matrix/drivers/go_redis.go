// go-redis in the version that Debian packages, built with GO111MODULE=off and GOPATH=/usr/share/gocode.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"gopkg.in/redis.v5"
)

const lifetime = 60 * time.Second

type job struct {
	Style   string `json:"style"`
	Port    int    `json:"port"`
	Bytes   int    `json:"bytes"`
	Groups  int    `json:"groups"`
	Callers int    `json:"callers"`
	Name    string `json:"name"`
}

func connect(port int) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), ReadTimeout: lifetime, PoolSize: 20})
}

func note(pipe *redis.Pipeline, user, token, value string) {
	pipe.Set("rt:"+user+":"+token, value, lifetime)
	pipe.SAdd("sess:"+user, token)
	pipe.Expire("sess:"+user, lifetime)
	pipe.SMembers("sess:" + user)
}

func send(client *redis.Client, user, token, value string) ([]redis.Cmder, error) {
	pipe := client.Pipeline()
	defer pipe.Close()
	note(pipe, user, token, value)
	return pipe.Exec()
}

// Each caller, a goroutine, sends its groups one after the other; they share the client's pool.
func play(job job) any {
	client := connect(job.Port)
	defer client.Close()
	var lock sync.Mutex
	var callers sync.WaitGroup
	took, failed := []int64{}, ""
	for caller := 0; caller < job.Callers; caller++ {
		callers.Add(1)
		go func(caller int) {
			defer callers.Done()
			for n := caller; n < job.Groups; n += job.Callers {
				user, token, value := fmt.Sprintf("%s-%d", job.Name, n), fmt.Sprintf("t%d", n), strings.Repeat("v", job.Bytes)
				start := time.Now()
				replies, err := send(client, user, token, value)
				elapsed := time.Since(start).Microseconds()
				right := err == nil && replies[1].(*redis.IntCmd).Val() == 1 && replies[2].(*redis.BoolCmd).Val() &&
					strings.Join(replies[3].(*redis.StringSliceCmd).Val(), "") == token
				lock.Lock()
				took = append(took, elapsed)
				if !right {
					failed = fmt.Sprint("wrong replies: ", replies, err)
				}
				lock.Unlock()
			}
		}(caller)
	}
	callers.Wait()
	if failed != "" {
		return map[string]string{"failed": failed}
	}
	return map[string]any{"took_us": took}
}

func checks(port int) any {
	client, other := connect(port), connect(port)
	defer client.Close()
	defer other.Close()
	client.Set("sess:bad", "text", 0)
	other.Del("killed")
	_, err := send(client, "bad", "t", "v")
	id := redis.NewIntCmd("CLIENT", "ID")
	client.Process(id)
	other.Process(redis.NewStatusCmd("CLIENT", "KILL", "ID", fmt.Sprint(id.Val())))
	time.Sleep(200 * time.Millisecond)
	return map[string]any{"said": map[string]any{
		"handshake":         client.Ping().String(),
		"error in a group":  fmt.Sprint(err),
		"killed connection": []string{client.Incr("killed").String(), client.Incr("killed").String(), other.Get("killed").String()},
	}}
}

func main() {
	out := json.NewEncoder(os.Stdout)
	out.Encode(map[string]any{"styles": []string{"pipeline", "pipelines"}})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var job job
		if err := json.Unmarshal(lines.Bytes(), &job); err != nil {
			panic(err)
		}
		if job.Style == "checks" {
			out.Encode(checks(job.Port))
		} else {
			out.Encode(play(job))
		}
	}
}
