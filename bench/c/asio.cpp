/* Standalone Asio: a session per connection that keeps itself alive, as in Asio's example
 * `cpp11/echo/async_tcp_echo_server.cpp`; one thread, which the io_context knows (concurrency hint 1). */
#include "peer.h"
#include <array>
#include <asio.hpp>
#include <memory>

using asio::ip::tcp;

class session : public std::enable_shared_from_this<session> {
  public:
    explicit session(tcp::socket socket) : socket_(std::move(socket)) {}

    /* Until the client closes or the connection fails; the last handler to go closes the socket. */
    void read() {
        auto self(shared_from_this());
        socket_.async_read_some(asio::buffer(buffer_), [this, self](std::error_code error, std::size_t length) {
            if (!error) write(length);
        });
    }

  private:
    void write(std::size_t length) {
        auto self(shared_from_this());
        asio::async_write(socket_, asio::buffer(buffer_.data(), length), [this, self](std::error_code error, std::size_t) {
            if (!error) read();
        });
    }

    tcp::socket socket_;
    std::array<char, READ_BUFFER> buffer_;
};

static void accept(tcp::acceptor &acceptor) {
    acceptor.async_accept([&acceptor](std::error_code error, tcp::socket socket) {
        if (!error) {
            socket.set_option(tcp::no_delay(true));
            std::make_shared<session>(std::move(socket))->read();
        } else if (error != asio::error::connection_aborted) {
            throw std::system_error(error, "accept");
        }
        accept(acceptor);
    });
}

int main(int count, char **arguments) try {
    int listener = listen_on(port_of(count, arguments, "async"), 0);
    asio::io_context context(1);
    tcp::acceptor acceptor(context, tcp::v4(), listener);
    accept(acceptor);
    announce(listener);
    context.run();
} catch (const std::exception &error) {
    fprintf(stderr, "%s\n", error.what());
    return 1;
}
