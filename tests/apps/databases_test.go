package apps

import (
	"bufio"
	"io"

	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// server starts a program where the servers are, and waits until it has written the word.
func server(t *testing.T, dir, word string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	amongServers(t, func() { err = cmd.Start() })
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) // both end at once then
		cmd.Wait()
		out.Close()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), word) {
			go io.Copy(io.Discard, out)
			return
		}
	}
	t.Fatalf("%q has ended: %s", argv, said.String())
}

// The clients of databases work under a rule for the address of their server, which is no
// part of the sandbox, and reach it at no other.
func TestDatabaseClients(t *testing.T) {
	needServers(t)
	may, mayNot := addresses()
	port := ""
	amongServers(t, func() { port = freePort(t) })
	prepare := func(t *testing.T) *app {
		a := newApp(t)
		a.policy.NetAllow = []string{may}
		return a
	}
	t.Run("redis", func(t *testing.T) {
		a := prepare(t)
		server(t, t.TempDir(), "eady to accept connections", "redis-server", "--port", port, "--bind", may, mayNot, "--save", "", "--protected-mode", "no")
		a.expect("OK\nvalue\n", "sh", "-c", `redis-cli -h "$1" -p "$2" set key value && redis-cli -h "$1" -p "$2" get key`, "sh", may, port)
		out := a.run("redis-benchmark", "-h", may, "-p", port, "-t", "set,get", "-n", "20000", "-P", "4", "--csv")
		if !strings.Contains(out, `"SET","`) || !strings.Contains(out, `"GET","`) {
			t.Errorf("redis-benchmark: %s", out)
		}
		const refused = `redis-cli -h "$1" -p "$2" get key 2>&1 | sed 's/.*: //'`
		a.expect("Permission denied\n", "sh", "-c", refused, "sh", mayNot, port)
		amongServers(t, func() {
			if got := outside(t, "redis-cli", "-h", mayNot, "-p", port, "get", "key"); got != "value" {
				t.Errorf("without a sandbox: %q", got)
			}
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		bins, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if err != nil || len(bins) == 0 {
			t.Fatalf("PostgreSQL is not installed: %v", err)
		}
		bin := filepath.Dir(bins[len(bins)-1])
		a, site := prepare(t), newApp(t)
		user := site.ordinary()
		data := filepath.Join(site.dir, "data")
		for _, argv := range [][]string{
			{filepath.Join(bin, "initdb"), "--no-sync", "-A", "trust", "-U", "owner", data},
			{"sh", "-c", `echo "host all all 0.0.0.0/0 trust" >> "$1"`, "sh", filepath.Join(data, "pg_hba.conf")},
		} {
			if out, err := exec.Command("env", append(append([]string{"-C", site.dir}, user...), argv...)...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", argv, err, out)
			}
		}
		server(t, site.dir, "ready to accept connections", append(user, filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-k", site.dir,
			"-c", "listen_addresses="+may+","+mayNot, "-c", "fsync=off")...)
		a.write("script", `create table t (n integer primary key, text text);
insert into t select n, repeat('x', n) from generate_series(1, 1000) n;
copy t to stdout;
select sum(n), max(length(text)) from t;
`)
		rows := a.run("psql", "-h", may, "-p", port, "-U", "owner", "-qAt", "-f", "script", "postgres")
		if lines := strings.Split(strings.TrimSpace(rows), "\n"); len(lines) != 1001 || lines[1000] != "500500|1000" {
			t.Errorf("psql: %d lines, ending with %.100q", len(lines), lines[len(lines)-1])
		}
		a.expect("1000\n", "sh", "-c", `pg_dump -h "$1" -p "$2" -U owner postgres | grep -cE '^[0-9]+	x+$'`, "sh", may, port)
		const refused = `psql -h "$1" -p "$2" -U owner -qAt -c 'select 1' postgres 2>&1 | head -n 1 | sed 's/.*: //'`
		a.expect("Permission denied\n", "sh", "-c", refused, "sh", mayNot, port)
		amongServers(t, func() {
			if got := outside(t, "psql", "-h", mayNot, "-p", port, "-U", "owner", "-qAt", "-c", "select 1", "postgres"); got != "1" {
				t.Errorf("without a sandbox: %q", got)
			}
		})
	})
}
