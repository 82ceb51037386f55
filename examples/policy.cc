// policy.c in C++: ownership in types, and a callback that may throw.
//
//     c++ -std=c++11 policy.cc $(pkg-config --cflags --libs sandlock) -o policy
//     ./policy sh -c 'ls / | head -n 3; curl --version'
#include <sandlock.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Free {
	void operator()(sandlock_sandbox_t *p) const { sandlock_sandbox_free(p); }
	void operator()(sandlock_result_t *r) const { sandlock_result_free(r); }
	void operator()(char *s) const { sandlock_string_free(s); }
};
template <typename T> using Owned = std::unique_ptr<T, Free>;

struct Judge {
	int denied = 0;

	bool allows(const std::vector<std::string> &argv)
	{
		bool allowed = true;
		for (const std::string &word : argv)
			if (word.find("curl") != std::string::npos)
				allowed = false;
		denied += !allowed;
		std::cerr << (allowed ? "exec" : "deny");
		for (const std::string &word : argv)
			std::cerr << ' ' << word;
		std::cerr << '\n';
		return allowed;
	}
};

} // namespace

// The verdict is "deny" before the call, so an exception denies. It must not leave
// the function: there is no C++ above it.
extern "C" void judge(void *user_data, const sandlock_event_t *event, sandlock_ctx_t *, int32_t *verdict)
{
	try {
		if (event->argv == nullptr ||
		    static_cast<Judge *>(user_data)->allows({ event->argv, event->argv + event->argc }))
			*verdict = 0;
	} catch (const std::exception &e) {
		std::cerr << "denied: " << e.what() << '\n';
	}
}

static Owned<sandlock_sandbox_t> make_policy(Judge &judge_data)
{
	sandlock_builder_t *builder = sandlock_sandbox_builder_new();
	for (const char *path : { "/usr", "/lib", "/lib64", "/bin", "/etc" })
		builder = sandlock_sandbox_builder_fs_read(builder, path);
	for (const char *path : { ".", "/dev/null" })
		builder = sandlock_sandbox_builder_fs_write(builder, path);
	builder = sandlock_sandbox_builder_policy_callback(builder, judge, &judge_data, nullptr);
	char *text = nullptr;
	Owned<sandlock_sandbox_t> policy(sandlock_sandbox_build(builder, nullptr, &text));
	const Owned<char> why(text);
	if (!policy)
		throw std::runtime_error(why ? why.get() : "no policy");
	return policy;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		std::cerr << "usage: " << argv[0] << " COMMAND [ARGUMENT...]\n";
		return 125;
	}
	try {
		Judge data;
		const Owned<sandlock_sandbox_t> policy = make_policy(data);
		const Owned<sandlock_result_t> result(sandlock_run(policy.get(), nullptr, argv + 1, static_cast<unsigned>(argc - 1)));
		if (!result)
			throw std::runtime_error(sandlock_last_error());
		uintptr_t length = 0;
		const uint8_t *out = sandlock_result_stdout_bytes(result.get(), &length);
		std::cout.write(reinterpret_cast<const char *>(out), static_cast<std::streamsize>(length));
		const uint8_t *err = sandlock_result_stderr_bytes(result.get(), &length);
		std::cerr.write(reinterpret_cast<const char *>(err), static_cast<std::streamsize>(length));
		std::cerr << data.denied << " command lines denied\n";
		return sandlock_result_reason(result.get()) == SANDLOCK_EXITED ? sandlock_result_exit_code(result.get()) : 125;
	} catch (const std::exception &e) {
		std::cerr << argv[1] << ": " << e.what() << '\n';
		return 125;
	}
}
