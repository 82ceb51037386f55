package apps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGCC(t *testing.T) { bothWays(t, testGCC) }

func testGCC(t *testing.T, a *app) {
	a.write("part.c", "int answer(void) { return 42; }\n")
	a.write("main.c", `
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *thread(void *part)
{
	int (*answer)(void) = (int (*)(void))dlsym(part, "answer");
	return answer ? (void *)(long)answer() : NULL;
}

int main(void)
{
	void *part = dlopen("./part.so", RTLD_NOW), *result = NULL;
	pthread_t id;
	int status;
	if (!part || pthread_create(&id, NULL, thread, part) || pthread_join(id, &result))
		return 1;
	if (fork() == 0)
		execlp("sh", "sh", "-c", "exit 7", (char *)NULL);
	if (wait(&status) < 0)
		return 2;
	printf("%ld %d\n", (long)result, WEXITSTATUS(status));
	return 0;
}
`)
	a.run("gcc", "-O2", "-shared", "-fPIC", "-o", "part.so", "part.c")
	a.run("gcc", "-O2", "-flto", "-pipe", "-o", "program", "main.c", "-ldl", "-pthread")
	a.expect("42 7\n", "./program")
	a.run("ar", "rcs", "libpart.a", "part.so")
}

func TestGit(t *testing.T) { bothWays(t, testGit) }

func testGit(t *testing.T, a *app) {
	outside(t, "git", "--version")
	a.write("repo/file", strings.Repeat("line\n", 1000))
	a.write("repo/sub/other", "other\n")
	a.write(".gitconfig", "[user]\n\tname = Somebody\n\temail = somebody@example.test\n[init]\n\tdefaultBranch = main\n")
	git := func(dir string, args ...string) string {
		t.Helper()
		return a.run(append([]string{"git", "-C", dir}, args...)...)
	}
	git("repo", "init", "--quiet")
	git("repo", "add", ".")
	git("repo", "commit", "--quiet", "-m", "Begin")
	a.write("repo/file", "changed\n")
	git("repo", "commit", "--quiet", "-a", "-m", "Change")
	git("repo", "checkout", "--quiet", "-b", "side", "HEAD~1")
	a.write("repo/sub/other", "aside\n")
	git("repo", "commit", "--quiet", "-a", "-m", "Aside")
	git("repo", "rebase", "--quiet", "main")
	if got := git("repo", "log", "--format=%s"); got != "Aside\nChange\nBegin\n" {
		t.Errorf("after the rebase: %q", got)
	}
	git("repo", "checkout", "--quiet", "main")
	git("repo", "gc", "--quiet", "--aggressive")
	git(".", "clone", "--quiet", "file://"+filepath.Join(a.dir, "repo"), "over-the-protocol")
	git(".", "clone", "--quiet", "repo", "by-links")
	git("by-links", "fsck", "--strict")
	for _, dir := range []string{"over-the-protocol", "by-links"} {
		if got := git(dir, "log", "--format=%s"); got != "Change\nBegin\n" {
			t.Errorf("%s: log is %q", dir, got)
		}
		if got, err := os.ReadFile(filepath.Join(a.dir, dir, "file")); err != nil || string(got) != "changed\n" {
			t.Errorf("%s: %q, %v", dir, got, err)
		}
	}
	if got := git("repo", "diff", "--stat", "HEAD~1"); !strings.Contains(got, "1 file changed") {
		t.Errorf("diff --stat: %q", got)
	}
}

func TestBash(t *testing.T) { bothWays(t, testBash) }

func testBash(t *testing.T, a *app) {
	outside(t, "bash", "--version")
	a.write("script.bash", bashScript)
	a.expect("ok\n", "bash", "script.bash")
}

const bashScript = `
set -euo pipefail
fail() { echo "line $1" >&2; exit 1; }
trap 'fail $LINENO' ERR

# pipelines, here-documents, process substitution
test "$(seq 1 1000 | grep 7 | sort -rn | head -n 1 || :)" = 997
test "$(cat <<< here; cat << END
document
END
)" = $'here\ndocument'
diff <(sort <(printf 'b\na\n')) <(printf 'a\nb\n')
tee >(tr a-z A-Z > upper) <<< text > lower
wait $!
test "$(cat upper lower)" = $'TEXT\ntext'

# jobs
sleep 1000 & first=$!
sleep 1000 & second=$!
test "$(jobs -r | wc -l)" = 2
kill %1
wait $first && fail $LINENO || test $? = 143
kill -STOP $second; kill -CONT $second; kill -KILL $second
wait $second 2>/dev/null && fail $LINENO || test $? = 137
set -m
(exit 5) & wait $! && fail $LINENO || test $? = 5
set +m

coproc CAT { cat; }
echo round >&"${CAT[1]}"
read -r line <&"${CAT[0]}"
test "$line" = round
kill "$CAT_PID"; wait "$CAT_PID" || :

# files
mkdir -p d/e; : > d/e/f; chmod 640 d/e/f; ln -s e d/link; mv d d2
test "$(find d2 -type f -perm 640)" = d2/e/f
rm -r d2
mapfile -t lines < <(printf '%s\n' one two)
test "${#lines[@]}-${lines[1]}" = 2-two
ulimit -c 0
exec 9> locked; flock 9; exec 9>&-
trap - ERR
echo ok
`
