package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// honestRuns is how often a program that spawns is run under a policy_fn.
func honestRuns() int {
	if os.Getenv("SANDLOCK_SOAK") != "" {
		return 20
	}
	return 2
}

// judged runs a program that prints what became of its children, with every exec allowed
// and recorded: it prints what it prints without a sandbox, and ran counts the execs that
// have to be there.
func (a *app) judged(ran int, argv ...string) {
	a.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = a.dir
	want, err := cmd.Output()
	if err != nil {
		a.t.Fatalf("without a sandbox: %v", err)
	}
	a.policy.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Allow }
	a.policy.RecordExecs = true
	many := uint32(1000) // children at once, and those that nobody has waited for yet
	a.policy.MaxProcesses = &many
	plan, err := a.policy.Compile()
	if err != nil {
		a.t.Fatal(err)
	}
	n := honestRuns()
	for range n {
		r, err := plan.Run(core.Command{Argv: argv, Stdin: -1}, patience)
		if err != nil {
			a.t.Fatal(err)
		}
		if string(r.Stdout) != string(want) || !r.Success() || len(r.Log) != 0 {
			a.t.Errorf("%+v\n%s%s\nwithout a sandbox\n%s", r, r.Stdout, r.Stderr, want)
		}
		got := map[core.ExecOutcome]int{}
		for _, e := range r.Execs {
			got[e.Outcome]++
		}
		if got[core.ExecRan] != ran || len(r.Execs) != ran {
			a.t.Errorf("execs %v, want %d that ran", got, ran)
		}
	}
	a.t.Logf("%d runs of %d execs each, all ran", n, ran)
}

// A program with a thread pool and an event loop starts many children at once.
func TestNodeSpawns(t *testing.T) {
	node := outside(t, "node", "-p", "process.execPath")
	a := newApp(t)
	a.read(filepath.Dir(filepath.Dir(node)))
	a.write("program.js", `
const { execFile, spawn, spawnSync } = require('node:child_process');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const { once } = require('node:events');

const run = n => new Promise((resolve, reject) => {
  const child = spawn('/bin/sh', ['-c', 'cat; exit ' + n % 200], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.on('error', reject);
  child.stdout.on('data', data => text += data);
  child.on('close', (code, signal) => resolve([n, text, code, signal].join(' ')));
  child.stdin.end('in ' + n);
});

async function main() {
  console.log((await Promise.all([...Array(50).keys()].map(run))).join('\n'));
  for (let n = 0; n < 10; n++) console.log(spawnSync('/bin/echo', [n]).stdout.toString().trim());
  const workers = [1, 2, 3, 4].map(n => new Worker(__filename, { workerData: n }));
  console.log((await Promise.all(workers.map(w => once(w, 'message')))).join('\n'));
}

if (isMainThread) main().catch(e => { console.error(e); process.exit(1); });
else Promise.all([1, 2, 3, 4, 5].map(n => run(workerData * 100 + n))).then(lines => parentPort.postMessage(lines.join('\n')));
`)
	// sh replaces itself by no cat: it has something to do afterwards.
	a.judged(1+2*50+10+2*4*5, node, "program.js")
}

// A program whose runtime has a thread for each child that starts, from which it vforks.
func TestGoSpawns(t *testing.T) {
	a := newApp(t)
	a.read(outside(t, "go", "env", "GOROOT"))
	a.write("go.mod", "module example.test/spawn\n\ngo 1.21\n")
	a.write("main.go", `package main

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
)

func main() {
	var lines [64]string
	var all sync.WaitGroup
	for n := range lines {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			for k := 0; k < 4; k++ {
				cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("cat; exit %d", n))
				cmd.Stdin = strings.NewReader(fmt.Sprint("in ", n, k))
				out, err := cmd.Output()
				lines[n] += fmt.Sprintln(string(out), err)
			}
		}(n)
	}
	all.Wait()
	for _, line := range lines {
		fmt.Print(line)
	}
}
`)
	build := exec.Command("go", "build", "-o", "spawn", ".")
	build.Dir, build.Env = a.dir, append(os.Environ(), "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.judged(1+2*64*4, filepath.Join(a.dir, "spawn"))
}
