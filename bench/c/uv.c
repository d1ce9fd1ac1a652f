/* libuv: one loop, `uv_try_write` first and a request for the rest, as in the TCP echo server of libuv's guide
 * (docs.libuv.org/en/v1.x/guide/networking.html) and the advice of its stream page. */
#include "peer.h"
#include <uv.h>

/* One for all connections: what a read brings has been sent or copied when its callback returns. */
static char buffer[READ_BUFFER];

/* What the socket did not take at once. */
struct rest {
    uv_write_t request;
    char bytes[];
};

static void check(int result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
    exit(1);
}

static void *allocate(size_t size) {
    void *memory = malloc(size);
    if (!memory) fail("malloc");
    return memory;
}

static void on_close(uv_handle_t *stream) { free(stream); }

static void on_alloc(uv_handle_t *stream, size_t suggested, uv_buf_t *room) {
    (void)stream, (void)suggested;
    *room = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *room);

/* Nothing was read while the rest waited. */
static void on_rest(uv_write_t *request, int status) {
    uv_stream_t *stream = request->handle;
    free(request->data);
    if (status == UV_ECANCELED) return; /* closed already */
    if (status < 0 || uv_read_start(stream, on_alloc, on_read)) uv_close((uv_handle_t *)stream, on_close);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *room) {
    if (length == 0) return; /* nothing to read yet */
    if (length < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    uv_buf_t bytes = uv_buf_init(room->base, (unsigned)length);
    int sent = uv_try_write(stream, &bytes, 1);
    if (sent == length) return;
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    struct rest *rest = allocate(sizeof *rest + (size_t)(length - sent));
    memcpy(rest->bytes, room->base + sent, (size_t)(length - sent));
    rest->request.data = rest;
    bytes = uv_buf_init(rest->bytes, (unsigned)(length - sent));
    uv_read_stop(stream);
    check(uv_write(&rest->request, stream, &bytes, 1, on_rest), "uv_write");
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status == UV_ECONNABORTED) return;
    check(status, "accept");
    uv_tcp_t *stream = allocate(sizeof *stream);
    check(uv_tcp_init(listener->loop, stream), "uv_tcp_init");
    check(uv_accept(listener, (uv_stream_t *)stream), "uv_accept");
    check(uv_tcp_nodelay(stream, 1), "uv_tcp_nodelay");
    check(uv_read_start((uv_stream_t *)stream, on_alloc, on_read), "uv_read_start");
}

int main(int count, char **arguments) {
    int listener = listen_on(port_of(count, arguments, "try-write"), 0);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t server;
    check(uv_tcp_init(loop, &server), "uv_tcp_init");
    check(uv_tcp_open(&server, listener), "uv_tcp_open");
    check(uv_listen((uv_stream_t *)&server, BACKLOG, on_connection), "uv_listen");
    announce(listener);
    return uv_run(loop, UV_RUN_DEFAULT);
}
