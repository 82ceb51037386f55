package apps

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// needServers leaves these tests to "make test-apps", which installs what they run.
func needServers(t *testing.T) {
	t.Helper()
	if os.Getenv("SANDLOCK_TEST_SERVERS") == "" {
		t.Skip("run by make test-apps")
	}
}

// freePort returns a TCP port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// serve lets the program listen on the port and connect to it.
func (a *app) serve(port string) {
	a.policy.NetAllowBind = append(a.policy.NetAllowBind, port)
	a.policy.NetAllow = append(a.policy.NetAllow, "localhost:"+port) // by address, TCP and UDP
}

// ordinary returns the words before a command that make it run as an ordinary user,
// who then owns the app's directory.
func (a *app) ordinary() []string {
	a.t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		a.t.Fatal(err)
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		a.t.Fatal(err)
	}
	gid, err := strconv.Atoi(nobody.Gid)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, dir := range []string{a.dir, filepath.Join(a.dir, "tmp")} {
		if err := os.Chown(dir, uid, gid); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(a.dir), 0o755); err != nil {
		a.t.Fatal(err)
	}
	return []string{"setpriv", "--reuid=" + nobody.Uid, "--regid=" + nobody.Gid, "--clear-groups"}
}

func TestPostgreSQL(t *testing.T) {
	needServers(t)
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(bins) == 0 {
		t.Fatalf("PostgreSQL is not installed: %v", err)
	}
	a := newApp(t)
	a.policy.FSWritable = append(a.policy.FSWritable, "/dev/shm")
	a.policy.ExtraAllowSyscalls = []string{"sysv_ipc"}
	a.policy.Env["PATH"] = filepath.Dir(bins[len(bins)-1]) + ":" + a.policy.Env["PATH"]
	port := freePort(t)
	a.serve(port)
	a.write("script", fmt.Sprintf(`
set -eu
initdb --no-sync -A trust -U owner data > log
trap 'pg_ctl -D data -m immediate stop >> log; cat server.log >&2' EXIT
pg_ctl -D data -l server.log -w -o "-p %[1]s -k $PWD -c listen_addresses=127.0.0.1" start >> log
psql -h "$PWD" -p %[1]s -U owner -qAt postgres <<'SQL'
create table t (n integer primary key, text text);
insert into t select n, repeat('x', n) from generate_series(1, 1000) n;
create index on t (text);
SQL
psql -h 127.0.0.1 -p %[1]s -U owner -qAt postgres -c 'set max_parallel_workers_per_gather = 2; select sum(n), max(length(text)) from t'
createdb -h 127.0.0.1 -p %[1]s -U owner other
pg_dump -h "$PWD" -p %[1]s -U owner postgres | psql -h "$PWD" -p %[1]s -U owner -q other >> log
psql -h "$PWD" -p %[1]s -U owner -qAt other -c 'vacuum full t' -c 'select count(*) from t'
trap - EXIT
pg_ctl -D data -m fast -w stop >> log
`, port))
	a.expect("500500|1000\n1000\n", append(a.ordinary(), "sh", "script")...)
}

func TestRedis(t *testing.T) {
	needServers(t)
	a := newApp(t)
	port := freePort(t)
	a.serve(port)
	// The log on the FIFO says when the server is ready; redis ignores that nobody
	// reads it afterwards.
	a.write("script", fmt.Sprintf(`
set -eu
mkfifo ready
redis-server --port %[1]s --bind 127.0.0.1 --dir "$PWD" --daemonize no --appendonly yes --loglevel notice > ready &
while read -r line; do
	case $line in *"eady to accept connections"*) break ;; esac
done < ready
redis() { redis-cli -p %[1]s "$@"; }
redis set key value > /dev/null
redis get key
redis eval 'return redis.call("incrby", KEYS[1], ARGV[1])' 1 counter 42
redis bgsave > /dev/null
seq 1 10000 | sed 's/.*/rpush list &/' | redis > /dev/null
redis llen list
redis-benchmark -p %[1]s -t set,get -n 10000 --csv | grep -cE '^"(SET|GET)","'
redis shutdown save
wait
test -s dump.rdb && redis-check-rdb dump.rdb > /dev/null
`, port))
	a.expect("value\n42\n10000\n2\n", append(a.ordinary(), "sh", "script")...)
}

func TestChromium(t *testing.T) {
	needServers(t)
	a := newApp(t)
	// Its processes share memory there, and it asks the kernel about the machine.
	a.policy.FSWritable = append(a.policy.FSWritable, "/dev/shm")
	a.read("/sys", "/dev/urandom", "/var/lib/dbus", "/var/cache/fontconfig")
	a.write("page.html", `<!doctype html><title>page</title><p id=p></p>
<script>
document.getElementById('p').textContent = [6 * 7, typeof WebAssembly, new Intl.NumberFormat('de').format(1234.5)].join(' ');
</script>`)
	out := a.run(append(a.ordinary(), "chromium", "--headless", "--no-sandbox", "--disable-gpu",
		"--user-data-dir="+filepath.Join(a.dir, "profile"), "--dump-dom", "file://"+filepath.Join(a.dir, "page.html"))...)
	if want := `<p id="p">42 object 1.234,5</p>`; !strings.Contains(out, want) {
		t.Errorf("no %s in\n%s", want, out)
	}
}
