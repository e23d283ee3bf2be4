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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	callTimeout     = time.Minute
	keepaliveTime   = time.Minute
	retryBufferSize = 64 << 20

	// An environment variable of gRPC. HTTPS_PROXY is often set for other programs, and its proxy rarely passes HTTP/2.
	proxyRequest = "grpc_proxy"

	// UNAVAILABLE is the only status that invites a plain retry. A stream is retried until its first message.
	serviceConfig = `{
	"methodConfig": [{
		"name": [
			{"service": "clipstyler.v1.StylizationService"},
			{"service": "clipstyler.v1.StyleService"},
			{"service": "clipstyler.v1.EncoderService"},
			{"service": "clipstyler.v1.ServerService"}
		],
		"retryPolicy": {
			"maxAttempts": 5,
			"initialBackoff": "0.2s",
			"maxBackoff": "5s",
			"backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`
)

// isAddress refuses what gRPC would wait for without ever reaching it: nothing, a URL, a port that there cannot be.
func isAddress(target string) bool {
	if strings.TrimSpace(target) == "" || strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return false
	}
	_, err := strconv.ParseUint(target[strings.LastIndexByte(target, ':')+1:], 10, 16)
	return !errors.Is(err, strconv.ErrRange) // without a number at its end it may be a name or a path
}

// dialOptions are retries, also of requests as large as a photo, and pings that detect a dead connection.
func dialOptions() []grpc.DialOption {
	// A server that restarts is back within seconds.
	reconnect := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxRetryRPCBufferSize(retryBufferSize)),
		grpc.WithChainStreamInterceptor(keepEndings),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 5 * time.Second}),
	}
	if os.Getenv(proxyRequest) == "" {
		options = append(options, grpc.WithNoProxy())
	}
	return options
}

// retried makes a call, and once more after the delay that the server recommends, when gRPC's own retries have failed.
// gRPC itself does not know RetryInfo.
func retried[T any](ctx context.Context, attempt func() (T, error)) (T, error) {
	response, err := attempt()
	if err != nil {
		if err = recommendedPause(ctx, err); err == nil {
			response, err = attempt()
		}
	}
	return response, failure(err)
}

// recommendedPause waits as long as the server recommends before another attempt. It returns why none makes sense.
func recommendedPause(ctx context.Context, last error) error {
	if delay, ok := recommendedDelay(asError(last)); ok {
		return pause(ctx, delay, last)
	}
	return last
}

// recommendedDelay returns the delay after which the server recommends to repeat a call that was UNAVAILABLE.
func recommendedDelay(err *Error) (time.Duration, bool) {
	if err == nil || err.Code != codes.Unavailable {
		return 0, false
	}
	return err.RetryDelay, err.RetryDelay > 0
}

// pause waits before another attempt. It returns the error of the last one, at once, if the deadline is earlier, and why
// ctx ended if it did.
func pause(ctx context.Context, delay time.Duration, last error) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
		return last
	}
	select {
	case <-ctx.Done():
		return asError(status.FromContextError(ctx.Err()).Err())
	case <-time.After(delay):
		return nil
	}
}

// unary makes a call that has one response.
func unary[Request, Response any](
	ctx context.Context, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error), request *Request,
) (*Response, error) {
	ctx, cancel := withDefaultTimeout(ctx, callTimeout)
	defer cancel()
	return retried(ctx, func() (*Response, error) { return method(ctx, request) })
}

// withDefaultTimeout bounds a call that its caller does not bound.
func withDefaultTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// failure translates an error; a nil *Error would not be a nil error.
func failure(err error) error {
	if err == nil {
		return nil
	}
	return asError(err)
}
