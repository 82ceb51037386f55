package apps

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestPython(t *testing.T) {
	where := strings.Fields(outside(t, "python3", "-c", "import sys; print(sys.executable, sys.base_prefix)"))
	a := newApp(t)
	a.read(where[1])
	a.policy.FSWritable = append(a.policy.FSWritable, "/dev/shm") // semaphores of multiprocessing
	a.write("program.py", pythonProgram)
	a.expect("ok\n", where[0], "program.py")
	a.run(where[0], "-m", "venv", "--without-pip", "venv")
	a.expect(filepath.Join(a.dir, "venv")+"\n", filepath.Join(a.dir, "venv/bin/python"), "-c", "import sys; print(sys.prefix)")
}

const pythonProgram = `
import asyncio, concurrent.futures, ctypes, hashlib, json, multiprocessing, os, pathlib
import signal, socket, sqlite3, ssl, subprocess, sys, tempfile, threading, zipfile

def square(n):
    return n * n

async def children():
    async def child(n):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"print({n} * 2)", stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        return int(out)
    return await asyncio.gather(*(child(n) for n in range(4)))

def main():
    out = subprocess.run("cat | tr a-z A-Z", shell=True, input=b"piped", stdout=subprocess.PIPE, check=True)
    assert out.stdout == b"PIPED"
    for method in "fork", "spawn", "forkserver":
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(10)) == [n * n for n in range(10)], method
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert sum(pool.map(square, range(5))) == 30
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(square, range(5))) == 30
    assert asyncio.run(children()) == [0, 2, 4, 6]

    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        with sqlite3.connect(root / "a.db") as database:
            database.execute("pragma journal_mode = wal")
            database.execute("create table t (n)")
            database.executemany("insert into t values (?)", [(n,) for n in range(100)])
            assert database.execute("select sum(n) from t").fetchone() == (4950,)
        database.close()
        with zipfile.ZipFile(root / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("hello", b"x" * 10000)
        with zipfile.ZipFile(root / "a.zip") as archive:
            content = archive.read("hello")
        assert hashlib.sha256(content).digest() == hashlib.sha256(b"x" * 10000).digest()
        os.link(root / "a.zip", root / "b.zip")
        os.rename(root / "b.zip", root / "c.zip")
        (root / "sub").mkdir()
        os.rename(root / "c.zip", root / "sub" / "c.zip")
        os.symlink("a.zip", root / "link")
        assert sorted(os.listdir(root))[0] == "a.db"

        server = socket.socket(socket.AF_UNIX)
        server.bind(str(root / "socket"))
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(root / "socket"))
        peer, _ = server.accept()
        client.sendall(json.dumps([1, 2]).encode())
        assert json.loads(peer.recv(100)) == [1, 2]

    caught = []
    signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    assert caught == [signal.SIGUSR1]
    ran = threading.Event()
    threading.Thread(target=ran.set).start()
    assert ran.wait(60)
    assert ctypes.CDLL(None).getpid() == os.getpid()
    assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED
    print("ok")

if __name__ == "__main__":
    main()
`

// TestPython's pools need /dev/shm, where others' memory counts: docs/limits.md, "In the
// dark". This forks, so that one heap is in many processes.
func TestPythonInMemory(t *testing.T) {
	where := strings.Fields(outside(t, "python3", "-c", "import sys; print(sys.executable, sys.base_prefix)"))
	a := newApp(t)
	a.read(where[1])
	a.memory(256 << 20)
	a.write("program.py", `
import concurrent.futures, os, subprocess, sys

heap = [bytes([n]) * (1 << 20) for n in range(100)]

def child():
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writable, b"%d" % sum(len(part) for part in heap))
        os._exit(0)
    os.close(writable)
    with open(readable) as result:
        assert int(result.read()) == 100 << 20
    assert os.waitpid(pid, 0) == (pid, 0)

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for done in [pool.submit(child) for n in range(16)]:
        done.result()
    run = [sys.executable, "-c", "print(len(bytes(16 << 20)))"]
    for done in [pool.submit(subprocess.check_output, run) for n in range(4)]:
        assert int(done.result()) == 16 << 20
print("ok")
`)
	a.expect("ok\n", where[0], "program.py")
}

func TestNode(t *testing.T) {
	node := outside(t, "node", "-p", "process.execPath")
	a := newApp(t)
	a.read(filepath.Dir(filepath.Dir(node)))
	a.write("program.js", nodeProgram)
	a.expect("ok\n", node, "program.js")
	a.memory(256 << 20)
	a.expect("ok\n", node, "program.js")
}

const nodeProgram = `
const assert = require('node:assert');
const { execFileSync, fork, spawn } = require('node:child_process');
const { once } = require('node:events');
const crypto = require('node:crypto');
const fs = require('node:fs');
const net = require('node:net');
const zlib = require('node:zlib');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

async function main() {
  const workers = [1, 2, 3].map(n => new Worker(__filename, { workerData: n }));
  const squares = await Promise.all(workers.map(w => once(w, 'message').then(([m]) => m)));
  assert.deepStrictEqual(squares, [1, 4, 9]);

  assert.strictEqual(execFileSync('sh', ['-c', 'echo $((6 * 7))'], { encoding: 'utf8' }), '42\n');
  const cat = spawn('cat');
  cat.stdin.end('through a pipe');
  let text = '';
  for await (const chunk of cat.stdout) text += chunk;
  assert.strictEqual(text, 'through a pipe');
  const child = fork(__filename, ['child']);
  child.send('ping');
  assert.deepStrictEqual(await once(child, 'message').then(([m]) => m), 'pong');
  assert.deepStrictEqual(await once(child, 'exit'), [0, null]);

  await fs.promises.mkdir('a/b', { recursive: true });
  await fs.promises.writeFile('a/b/c', crypto.randomBytes(1 << 20));
  await fs.promises.copyFile('a/b/c', 'a/copy');
  assert.ok(fs.readFileSync('a/copy').equals(zlib.gunzipSync(zlib.gzipSync(fs.readFileSync('a/b/c')))));
  assert.deepStrictEqual(fs.readdirSync('a'), ['b', 'copy']);
  await fs.promises.rm('a', { recursive: true });

  const server = net.createServer(c => c.pipe(c)).listen('socket');
  await once(server, 'listening');
  const client = net.connect('socket');
  client.write('echo');
  assert.strictEqual(String((await once(client, 'data'))[0]), 'echo');
  client.destroy();
  server.close();
  console.log('ok');
}

if (!isMainThread) parentPort.postMessage(workerData * workerData);
else if (process.argv[2] === 'child') process.once('message', () => process.send('pong', () => process.exit(0)));
else main().catch(e => { console.error(e); process.exit(1); });
`

func TestGo(t *testing.T) {
	a := newApp(t)
	a.read(outside(t, "go", "env", "GOROOT"))
	a.policy.Env["GOPROXY"] = "off"
	a.policy.Env["GOTOOLCHAIN"] = "local"
	a.write("go.mod", "module example.test/hello\n\ngo 1.21\n")
	a.write("twice/twice.go", "package twice\n\nfunc Twice(n int) int { return 2 * n }\n")
	a.write("main.go", `package main

import (
	"os"

	"example.test/hello/twice"
)

func main() {
	results := make(chan int)
	for n := range make([]struct{}, 10) {
		go func(n int) {
			part := make([]byte, 8<<20) // garbage of 80 MiB at most
			for i := 0; i < len(part); i += 4096 {
				part[i] = 1
			}
			results <- twice.Twice(n)
		}(n)
	}
	sum := 0
	for range make([]struct{}, 10) {
		sum += <-results
	}
	if sum != 90 {
		os.Exit(1)
	}
	os.Stdout.WriteString("ok\n")
}
`)
	a.run("go", "build", "-o", "hello", ".")
	a.expect("ok\n", "./hello")
	a.memory(256 << 20)
	a.expect("ok\n", "./hello")
}

// A Java without a compiler's command still compiles what it is to run.
func TestJava(t *testing.T) {
	outside(t, "java", "-version")
	a := newApp(t)
	a.write("Program.java", javaProgram)
	a.expect("ok\n", "java", "Program.java")
	a.memory(512 << 20)
	a.expect("ok\n", "java", "Program.java")
}

const javaProgram = `
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class Program {
  static int square(int n) {
    byte[][] garbage = new byte[10][];
    for (int i = 0; i < garbage.length; i++) garbage[i] = new byte[1 << 20];
    return garbage.length > 0 ? n * n : 0;
  }

  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    List<Future<Integer>> squares = new ArrayList<>();
    for (int n = 0; n < 20; n++) {
      int each = n;
      squares.add(pool.submit(() -> square(each)));
    }
    int sum = 0;
    for (Future<Integer> square : squares) sum += square.get();
    pool.shutdown();

    Process child = new ProcessBuilder("sh", "-c", "echo $((6 * 7))").redirectErrorStream(true).start();
    String out = new String(child.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    Path file = Files.writeString(Paths.get("file"), out);
    System.gc();
    if (sum != 2470 || child.waitFor() != 0 || !Files.readString(file).equals("42\n"))
      throw new AssertionError(sum + " " + out);
    System.out.println("ok");
  }
}
`

func TestCargo(t *testing.T) {
	sysroot := outside(t, "rustc", "--print", "sysroot") // behind rustup's proxies
	outside(t, "cargo", "--version")
	a := newApp(t)
	a.read(sysroot)
	a.policy.Env["CARGO_HOME"] = filepath.Join(a.dir, "cargo")
	a.write("Cargo.toml", "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2018\"\n")
	a.write("build.rs", `fn main() { println!("cargo:rustc-env=BUILT_BY=build.rs"); }`)
	a.write("src/main.rs", `
use std::{process::Command, sync::mpsc, thread};

fn main() {
    let (tx, rx) = mpsc::channel();
    for n in 0..10 {
        let tx = tx.clone();
        thread::spawn(move || tx.send(n).unwrap());
    }
    drop(tx);
    let out = Command::new("echo").arg(env!("BUILT_BY")).output().unwrap();
    println!("{} {}", rx.iter().sum::<i32>(), String::from_utf8_lossy(&out.stdout).trim());
}
`)
	a.run("cargo", "build", "--offline", "--quiet")
	a.expect("45 build.rs\n", "target/debug/hello")
}
