// Counts test frames and lets everything pass. No headers, so that clang alone compiles it.
#define SECTION(name) __attribute__((section(name), used))

struct xdp_md {
	unsigned int data;
	unsigned int data_end;
	unsigned int data_meta;
	unsigned int ingress_ifindex;
	unsigned int rx_queue_index;
	unsigned int egress_ifindex;
};

// What libxdp's XDP_RUN_CONFIG declares: run before the default program, go on after XDP_PASS.
struct {
	int (*priority)[10];
	int (*XDP_PASS)[1];
} _count_packets SECTION(".xdp_run_config");

unsigned long long packets;

SECTION("xdp") int count_packets(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data;

	if (data + 14 <= (unsigned char *)(long)ctx->data_end && data[12] == 0x88 && data[13] == 0xb5)
		__sync_fetch_and_add(&packets, 1);
	return 2;
}

char _license[] SECTION("license") = "GPL";
