package clipstyler

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	callTimeout     = time.Minute
	keepaliveTime   = time.Minute
	retryBufferSize = 64 << 20

	// An environment variable of gRPC. HTTPS_PROXY is often set for other programs, and its proxy rarely passes HTTP/2.
	proxyRequest = "grpc_proxy"
)

// isAddress refuses what gRPC would wait for without ever reaching it: nothing, a URL, a port that there cannot be.
func isAddress(target string) bool {
	if strings.TrimSpace(target) == "" || strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return false
	}
	_, err := strconv.ParseUint(target[strings.LastIndexByte(target, ':')+1:], 10, 16)
	return !errors.Is(err, strconv.ErrRange) // without a number at its end it may be a name or a path
}

// dialOptions let gRPC send what no server has processed once more, photos too, and detect a dead connection by pings.
func dialOptions() []grpc.DialOption {
	// A server that restarts is back within seconds.
	reconnect := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxRetryRPCBufferSize(retryBufferSize)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 5 * time.Second}),
	}
	if os.Getenv(proxyRequest) == "" {
		options = append(options, grpc.WithNoProxy())
	}
	return options
}

// unary makes a call that has one response.
func unary[Request, Response any](
	ctx, life context.Context, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request *Request,
) (*Response, error) {
	ctx, cancel := limited(ctx, life, callTimeout)
	defer cancel()
	return retried(ctx, func() (*Response, error) { return method(ctx, request) })
}

// limited bounds a call by the life of its client, and by a timeout if its caller does not bound it.
func limited(ctx, life context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, end := during(ctx, life)
	if _, ok := ctx.Deadline(); ok {
		return ctx, end
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, func() {
		cancel()
		end()
	}
}
