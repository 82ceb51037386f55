/* report: what the library says of the kernel, by its C interface. */
#include <sandlock.h>

#include <stdio.h>

int main(void)
{
	char *report = sandlock_kernel_report();

	if (report == NULL) {
		fprintf(stderr, "%s\n", sandlock_last_error());
		return 1;
	}
	puts(report);
	sandlock_string_free(report);
	return 0;
}
