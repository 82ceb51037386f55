package main

/*
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netdb.h>
#include <netinet/in.h>

// Fills in the addresses of a name, each of 16 bytes, IPv4 mapped. Returns how many there
// are, or an error of getaddrinfo(3), which is negative; *number is errno then.
static int resolve(const char *name, unsigned char (*to)[16], int most, int *number)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all, *a;
	int n = 0, err = getaddrinfo(name, NULL, &hints, &all);

	if (err != 0) {
		*number = errno;
		return err > 0 ? -err : err;
	}
	for (a = all; a != NULL && n < most; a = a->ai_next) {
		if (a->ai_family == AF_INET) {
			memset(to[n], 0, 10);
			memset(to[n] + 10, 0xff, 2);
			memcpy(to[n] + 12, &((struct sockaddr_in *)a->ai_addr)->sin_addr, 4);
		} else if (a->ai_family == AF_INET6) {
			memcpy(to[n], &((struct sockaddr_in6 *)a->ai_addr)->sin6_addr, 16);
		} else {
			continue;
		}
		n++;
	}
	freeaddrinfo(all);
	return n;
}
*/
import "C"

import (
	"errors"
	"net/netip"
	"syscall"
	"unsafe"
)

// mostAddresses is more than a rule may have.
const mostAddresses = 512

// resolveName asks the host's C library, which goes by nsswitch.conf(5) as the host's own
// programs do.
func resolveName(name string) ([]netip.Addr, error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	found := make([][16]C.uchar, mostAddresses)
	var number C.int
	n := C.resolve(text, &found[0], mostAddresses, &number)
	switch {
	case n == C.EAI_SYSTEM:
		return nil, syscall.Errno(number)
	case n < 0:
		return nil, errors.New(C.GoString(C.gai_strerror(n)))
	}
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = netip.AddrFrom16(*(*[16]byte)(unsafe.Pointer(&found[i]))).Unmap()
	}
	return addrs, nil
}
