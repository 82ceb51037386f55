package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// gitWork is a day of somebody who works on a repository, on a clone of origin.git that it
// makes. What it prints is the same for the same origin, for it fixes all dates.
const gitWork = `
set -eu
git clone --quiet "file://$PWD/origin.git" work
cd work
git config user.name Somebody
git config user.email somebody@example.test
at() { GIT_AUTHOR_DATE="$1 +0000" GIT_COMMITTER_DATE="1700000000 +0000" git "${@:2}"; }
base=$(git rev-list --first-parent --skip=40 --max-count=1 HEAD)
git checkout --quiet -b side "$base"
for i in $(seq 8); do
	mkdir -p "new/$i"
	seq $((i * 1000)) > "new/$i/file"
	git add new
	at "17000000$i" commit --quiet -m "Add $i"
done
git mv new/1 new/moved
git rm -r --quiet new/2
at 1700000009 commit --quiet -m "Move and remove"
echo aside > new/3/file
git stash push --quiet
git stash drop --quiet
GIT_COMMITTER_DATE="1700000000 +0000" git rebase --quiet trunk
git checkout --quiet trunk
at 1700000010 merge --quiet --no-ff -m "Merge side" side
at 1700000011 revert --no-edit HEAD~1 2>/dev/null >/dev/null || at 1700000011 revert --no-edit -m 1 HEAD >/dev/null
git worktree add --quiet ../beside side
test "$(git -C ../beside status --porcelain)" = ""
git log --stat --format=%s -n 60 > ../log
git blame README.md | wc -l
git grep -c main | wc -l
git gc --quiet --prune=now
git fsck --full --strict --no-dangling 2>/dev/null
git push --quiet origin side
git rev-list --count HEAD
git rev-parse HEAD HEAD^{tree} side
git -C ../origin.git rev-parse side
git count-objects -v | grep -E '^(count|packs|garbage):'
git status --porcelain
`

// Git's everyday work on this project's own history comes to the same commits inside as
// outside, with something denied beside it, too.
func TestGitHistory(t *testing.T) {
	git := func(args ...string) string {
		return outside(t, append([]string{"git", "-c", "safe.directory=*"}, args...)...)
	}
	if exec.Command("git", "-c", "safe.directory=*", "rev-parse", "--git-dir").Run() != nil {
		t.Skip("not in a checkout of this project")
	}
	if n, _ := strconv.Atoi(git("rev-list", "--count", "--first-parent", "HEAD")); n < 100 {
		t.Skipf("a checkout with %d commits", n)
	}
	prepare := func(t *testing.T, dir string) []string {
		origin := filepath.Join(dir, "origin.git")
		git("clone", "--quiet", "--bare", "--no-local", git("rev-parse", "--absolute-git-dir"), origin)
		git("-C", origin, "update-ref", "refs/heads/trunk", "HEAD") // which may be on no branch
		git("-C", origin, "symbolic-ref", "HEAD", "refs/heads/trunk")
		if err := os.WriteFile(filepath.Join(dir, "script"), []byte(gitWork), 0o666); err != nil {
			t.Fatal(err)
		}
		return []string{"bash", "script"}
	}
	dir := t.TempDir()
	control := exec.Command("env", append([]string{"-i", "-C", dir, "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C.UTF-8"}, prepare(t, dir)...)...)
	control.Stderr = os.Stderr
	out, err := control.Output()
	if err != nil {
		t.Fatalf("without a sandbox: %v\n%s", err, out)
	}
	want := string(out)
	t.Log(want)
	if strings.Count(want, "\n") != 10 {
		t.Errorf("without a sandbox: %s", want)
	}
	bothWays(t, func(t *testing.T, a *app) { a.expect(want, prepare(t, a.dir)...) })
}
