// User data of C++: an object that knows how many hold it. Each path gives it back once.
#include <sandlock.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>

#define CHECK(x) do { if (!(x)) { \
	std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, sandlock_last_error()); std::_Exit(1); } } while (0)

namespace {

using Judge = std::function<int32_t(const sandlock_event_t &)>;

// The library's share of a Judge. Its destructor tells, since a callback that has not
// returned keeps it beyond the policy.
struct Share {
	std::shared_ptr<Judge> judge;
	std::promise<void> gone;
	~Share() { judge.reset(); gone.set_value(); }
};

struct Policy {
	std::shared_ptr<Judge> judge;
	std::future<void> gone;

	explicit Policy(Judge f) : judge(std::make_shared<Judge>(std::move(f))) {}

	sandlock_builder_t *install(sandlock_builder_t *b)
	{
		auto *share = new Share{judge, {}};
		gone = share->gone.get_future();
		return sandlock_sandbox_builder_policy_callback(b, [](void *share, const sandlock_event_t *event, sandlock_ctx_t *,
		                                                      int32_t *verdict) {
			try {
				*verdict = (*static_cast<Share *>(share)->judge)(*event);
			} catch (...) {
			} // it holds a denial
		}, share, [](void *share) { delete static_cast<Share *>(share); });
	}

	bool held() const { return judge.use_count() > 1; }
};

sandlock_builder_t *basics()
{
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	for (const char *path : {"/usr", "/lib", "/lib64", "/bin"})
		b = sandlock_sandbox_builder_fs_read(b, path);
	return b;
}

} // namespace

int main()
{
	const char *const argv[] = {"/bin/true"};
	const auto allow = [](const sandlock_event_t &) { return 0; };

	Policy unbuilt(allow), replaced(allow), failed(allow), runs(allow), throws([](const sandlock_event_t &) -> int32_t { throw 1; });
	CHECK(unbuilt.install(nullptr) == nullptr && !unbuilt.held());

	sandlock_builder_t *b = failed.install(replaced.install(basics()));
	CHECK(!replaced.held() && failed.held());
	CHECK(!sandlock_sandbox_build(sandlock_sandbox_builder_cwd(b, ""), nullptr, nullptr) && !failed.held());

	sandlock_sandbox_t *p = sandlock_sandbox_build(runs.install(basics()), nullptr, nullptr);
	sandlock_result_t *r = sandlock_run(p, nullptr, argv, 1);
	CHECK(sandlock_result_success(r) && runs.held());
	sandlock_result_free(r);
	sandlock_handle_t *h = sandlock_create(p, nullptr, argv, 1);
	CHECK(h != nullptr);
	sandlock_sandbox_free(p);
	CHECK(runs.held());
	sandlock_handle_free(h);
	CHECK(!runs.held());

	p = sandlock_sandbox_build(throws.install(basics()), nullptr, nullptr);
	CHECK(p && !sandlock_run(p, nullptr, argv, 1));
	sandlock_sandbox_free(p);
	CHECK(!throws.held());

	// Its policy is freed while it runs.
	std::promise<void> entered, leave;
	Policy late([&](const sandlock_event_t &) {
		entered.set_value();
		leave.get_future().wait();
		return 0;
	});
	p = sandlock_sandbox_build(late.install(basics()), nullptr, nullptr);
	CHECK(p && (h = sandlock_create(p, nullptr, argv, 1)) && sandlock_start(h) == 0);
	entered.get_future().wait();
	sandlock_sandbox_free(p);
	sandlock_handle_free(h);
	CHECK(late.held());
	leave.set_value();
	late.gone.wait();
	CHECK(!late.held());
	return 0;
}
