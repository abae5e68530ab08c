/* The user's part on the four rings through the inline helpers of libxdp, compiled as a C program has them. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <linux/if_xdp.h>
#include <xdp/xsk.h>

#define MAX_BATCH 256

struct c_user {
	struct xsk_ring_cons rx, comp;
	struct xsk_ring_prod tx, fill;
	struct xsk_socket *socket;
	struct xsk_umem *umem;
	void *memory;
	size_t len;
	struct xdp_desc descs[MAX_BATCH];
	__u64 frames[MAX_BATCH];
};

void c_user_close(struct c_user *u)
{
	if (u->socket)
		xsk_socket__delete(u->socket);
	if (u->umem)
		xsk_umem__delete(u->umem);
	if (u->memory != MAP_FAILED)
		munmap(u->memory, u->len);
	free(u);
}

/* A socket that no program leads to. NULL with errno if that fails. */
struct c_user *c_user_open(const char *interface, __u32 queue, __u32 entries, __u32 frame_size, __u16 bind_flags)
{
	struct xsk_umem_config umem_config = {
		.fill_size = entries,
		.comp_size = entries,
		.frame_size = frame_size,
	};
	struct xsk_socket_config config = {
		.rx_size = entries,
		.tx_size = entries,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = bind_flags,
	};
	struct c_user *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return NULL;
	u->len = (size_t)entries * frame_size;
	u->memory = mmap(NULL, u->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ret = u->memory == MAP_FAILED ? -errno : 0;
	if (!ret)
		ret = xsk_umem__create(&u->umem, u->memory, u->len, &u->fill, &u->comp, &umem_config);
	if (!ret)
		ret = xsk_socket__create(&u->socket, interface, queue, u->umem, &u->rx, &u->tx, &config);
	if (ret) {
		c_user_close(u);
		errno = -ret;
		return NULL;
	}
	return u;
}

int c_user_fd(const struct c_user *u)
{
	return xsk_socket__fd(u->socket);
}

__u32 c_user_receive(struct c_user *u, __u32 count)
{
	__u32 at, n = xsk_ring_cons__peek(&u->rx, count, &at);

	for (__u32 i = 0; i < n; i++)
		u->descs[i] = *xsk_ring_cons__rx_desc(&u->rx, at + i);
	if (n)
		xsk_ring_cons__release(&u->rx, n);
	return n;
}

__u32 c_user_transmit(struct c_user *u, __u32 count)
{
	__u32 at, n = xsk_ring_prod__reserve(&u->tx, count, &at);

	for (__u32 i = 0; i < n; i++)
		*xsk_ring_prod__tx_desc(&u->tx, at + i) = u->descs[i];
	if (n)
		xsk_ring_prod__submit(&u->tx, n);
	return n;
}

__u32 c_user_complete(struct c_user *u, __u32 count)
{
	__u32 at, n = xsk_ring_cons__peek(&u->comp, count, &at);

	for (__u32 i = 0; i < n; i++)
		u->frames[i] = *xsk_ring_cons__comp_addr(&u->comp, at + i);
	if (n)
		xsk_ring_cons__release(&u->comp, n);
	return n;
}

__u32 c_user_refill(struct c_user *u, __u32 count)
{
	__u32 at, n = xsk_ring_prod__reserve(&u->fill, count, &at);

	for (__u32 i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&u->fill, at + i) = u->frames[i];
	if (n)
		xsk_ring_prod__submit(&u->fill, n);
	return n;
}

static __u32 min(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

/* A step of a forward loop that keeps what it receives in arrays, as a program does that looks at the packets. */
__u32 c_user_forward(struct c_user *u, __u32 count)
{
	__u32 received = c_user_receive(u, count);
	__u32 sent = c_user_transmit(u, received);
	__u32 done = c_user_complete(u, count);
	__u32 filled = c_user_refill(u, done);

	return min(min(received, sent), min(done, filled));
}

/* The same from ring to ring, as the loops of xdpsock and the tutorials do. */
__u32 c_user_forward_in_place(struct c_user *u, __u32 count)
{
	__u32 from, to, received, done;

	received = xsk_ring_cons__peek(&u->rx, count, &from);
	if (!received || xsk_ring_prod__reserve(&u->tx, received, &to) != received)
		return 0;
	for (__u32 i = 0; i < received; i++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(&u->rx, from++);
		struct xdp_desc *out = xsk_ring_prod__tx_desc(&u->tx, to++);

		out->addr = desc->addr;
		out->len = desc->len;
		out->options = desc->options;
	}
	xsk_ring_prod__submit(&u->tx, received);
	xsk_ring_cons__release(&u->rx, received);

	done = xsk_ring_cons__peek(&u->comp, count, &from);
	if (!done || xsk_ring_prod__reserve(&u->fill, done, &to) != done)
		return 0;
	for (__u32 i = 0; i < done; i++)
		*xsk_ring_prod__fill_addr(&u->fill, to++) = *xsk_ring_cons__comp_addr(&u->comp, from++);
	xsk_ring_prod__submit(&u->fill, done);
	xsk_ring_cons__release(&u->comp, done);
	return min(received, done);
}

/* The first frames of the UMEM to receive into. */
__u32 c_user_prime(struct c_user *u, __u32 count, __u32 frame_size)
{
	__u32 at, n = xsk_ring_prod__reserve(&u->fill, count, &at);

	for (__u32 i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&u->fill, at + i) = (__u64)i * frame_size;
	if (n)
		xsk_ring_prod__submit(&u->fill, n);
	return n;
}

/* A packet in frames from FIRST on, to be sent. */
void c_user_load(struct c_user *u, __u32 count, const void *packet, __u32 len, __u32 first, __u32 frame_size)
{
	for (__u32 i = 0; i < count; i++) {
		__u64 addr = (__u64)(first + i) * frame_size;

		memcpy((char *)u->memory + addr, packet, len);
		u->descs[i] = (struct xdp_desc){ .addr = addr, .len = len };
	}
}

/* What was received, back to be received into. */
__u32 c_user_recycle(struct c_user *u, __u32 count)
{
	__u32 at, n = xsk_ring_prod__reserve(&u->fill, count, &at);

	for (__u32 i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&u->fill, at + i) = u->descs[i].addr;
	if (n)
		xsk_ring_prod__submit(&u->fill, n);
	return n;
}

/* Returns how many system calls it took. */
__u32 c_user_wake(struct c_user *u)
{
	if (!xsk_ring_prod__needs_wakeup(&u->tx))
		return 0;
	sendto(xsk_socket__fd(u->socket), NULL, 0, MSG_DONTWAIT, NULL, 0);
	return 1;
}
