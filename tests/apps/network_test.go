package apps

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The addresses that may be reached and that may not: of loopback, or of the namespace where
// the servers are.
func addresses() (may, mayNot string) {
	if apart() {
		return "203.0.113.1", "203.0.113.2"
	}
	return "127.0.0.1", "127.0.0.2"
}

// webServer serves the directory, over HTTP, on the same port of both addresses.
func webServer(t *testing.T, dir string) (may, mayNot string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("/denied", func(http.ResponseWriter, *http.Request) { t.Error("a request that was denied has arrived") })
	hostMay, hostMayNot := addresses()
	var listeners [2]net.Listener
	port := "0"
	amongServers(t, func() {
		for i, host := range []string{hostMay, hostMayNot} {
			l, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ = net.SplitHostPort(l.Addr().String())
			listeners[i] = l
		}
	})
	for _, l := range listeners {
		server := httptest.NewUnstartedServer(mux)
		server.Listener.Close()
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
	}
	return net.JoinHostPort(hostMay, port), net.JoinHostPort(hostMayNot, port)
}

const asyncioFetch = `
import asyncio, sys, urllib.request
async def get(host, port):
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /page HTTP/1.0\r\n\r\n")
    body = (await reader.read()).rpartition(b"\r\n\r\n")[2]
    writer.close()
    return body.decode()
async def main():
    print("".join(await asyncio.gather(*[get(*sys.argv[1].split(":")) for _ in range(20)])), end="")
    try: await get(*sys.argv[2].split(":"))
    except PermissionError as e: print(e.errno)
asyncio.run(main())
`

const requestsFetch = `
import requests, sys
session = requests.Session()
for _ in range(20):
    print(session.get(sys.argv[1], timeout=20).text, end="")
try:
    session.get(sys.argv[2], timeout=20)
except requests.ConnectionError as e:
    while not isinstance(e, PermissionError):
        e = e.__cause__ or e.__context__
    print(e.errno)
`

const goFetch = `package main

import ("errors"; "fmt"; "io"; "net/http"; "os"; "sync"; "syscall")

func main() {
	var all sync.WaitGroup
	bodies := make([]string, 20)
	for i := range bodies {
		all.Add(1)
		go func() {
			defer all.Done()
			r, err := http.Get("http://" + os.Args[1] + "/page")
			if err != nil { fmt.Println(err); return }
			b, _ := io.ReadAll(r.Body)
			bodies[i] = string(b)
		}()
	}
	all.Wait()
	for _, b := range bodies { fmt.Print(b) }
	_, err := http.Get("http://" + os.Args[2] + "/denied")
	fmt.Println(errors.Is(err, syscall.EACCES))
}
`

const nodeFetch = `
const http = require("http"), [may, mayNot] = process.argv.slice(1);
const get = (at, path) => new Promise((ok, bad) => http.get("http://" + at + path, r => {
	let b = ""; r.on("data", d => b += d); r.on("end", () => ok(b));
}).on("error", bad));
Promise.all([...Array(20)].map(() => get(may, "/page"))).then(all => process.stdout.write(all.join("")))
	.then(() => get(mayNot, "/denied")).catch(e => console.log(e.code));
`

// Each program fetches what a rule for an address lets it, and nothing else. The rule is one
// for TCP and UDP, so that what programs do with other sockets is judged too.
func TestNetworkPrograms(t *testing.T) {
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "page"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	may, mayNot := webServer(t, site)
	host, _, _ := net.SplitHostPort(may)
	twenty := strings.Repeat("hello\n", 20)
	prepare := func(t *testing.T) *app {
		a := newApp(t)
		a.policy.NetAllow = []string{host}
		return a
	}
	url, denied := "http://"+may+"/page", "http://"+mayNot+"/denied"
	t.Run("curl", func(t *testing.T) {
		a := prepare(t)
		a.expect("hello\n", "curl", "-sS", "--max-time", "20", url)
		a.expect("7\n", "sh", "-c", "curl -s --max-time 20 "+denied+"; echo $?") // couldn't connect
	})
	t.Run("wget", func(t *testing.T) {
		a := prepare(t)
		a.expect("hello\n", "wget", "-q", "-T", "20", "-t", "1", "-O", "-", url)
		a.expect("4\n", "sh", "-c", "wget -q -T 20 -t 1 -O - "+denied+"; echo $?") // network failure
	})
	t.Run("python", func(t *testing.T) {
		a := prepare(t)
		python := outside(t, "python3", "-c", "import sys; print(sys.base_prefix, sys.executable)")
		prefix, _, _ := strings.Cut(python, " ")
		a.read(prefix)
		a.expect("hello\n", "python3", "-c", "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), end='')", url)
		a.expect(twenty+"13\n", "python3", "-c", asyncioFetch, may, mayNot)
	})
	t.Run("requests", func(t *testing.T) {
		python, err := filepath.Abs("../../build/venv/bin/python")
		if err != nil || exec.Command(python, "-c", "import requests").Run() != nil {
			t.Skip("tests/setup/venv has not installed requests")
		}
		a := prepare(t)
		a.read(filepath.Dir(filepath.Dir(python)), outside(t, python, "-c", "import sys; print(sys.base_prefix)"))
		a.expect(twenty+"13\n", python, "-c", requestsFetch, url, denied)
	})
	t.Run("node", func(t *testing.T) {
		outside(t, "node", "--version")
		prepare(t).expect(twenty+"EACCES\n", "node", "-e", nodeFetch, may, mayNot)
	})
	t.Run("go", func(t *testing.T) {
		a := prepare(t)
		a.write("fetch.go", goFetch)
		build := exec.Command("go", "build", "-o", filepath.Join(a.dir, "fetch"), filepath.Join(a.dir, "fetch.go"))
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		a.expect(twenty+"true\n", filepath.Join(a.dir, "fetch"), may, mayNot)
	})
	t.Run("git", func(t *testing.T) {
		for _, args := range [][]string{
			{"init", "-q", "-b", "main", "work"}, {"-C", "work", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"},
			{"clone", "-q", "--bare", "work", "repo.git"}, {"-C", "repo.git", "update-server-info"},
		} {
			cmd := exec.Command("git", args...)
			cmd.Dir = site
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git %q: %v\n%s", args, err, out)
			}
		}
		a := prepare(t)
		a.run("git", "clone", "-q", "http://"+may+"/repo.git", "copy")
		a.expect("first\n", "git", "-C", "copy", "log", "--format=%s")
		a.expect("128\n", "sh", "-c", "git clone -q http://"+mayNot+"/denied 2>/dev/null; echo $?")
	})
}
