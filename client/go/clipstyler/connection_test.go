package clipstyler_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

func TestWhatIsNoAddressIsRefusedAtOnce(t *testing.T) {
	for _, target := range []string{"", " ", "http://127.0.0.1:50051", "https://a", "a:65536", "[::1]:99999999999999999999"} {
		_, err := clipstyler.Connect(target)
		if failure := failureOf(t, err); failure.Code != codes.InvalidArgument || failure.Reason != "INVALID_FIELD" {
			t.Errorf("%q: %v", target, err)
		}
	}
	for _, target := range []string{"a", "a:65535", "[::1]:80", "dns:///a:80", "unix:/run/a.sock"} {
		client, err := clipstyler.Connect(target)
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		client.Close()
	}
}

// busy returns what refuses calls for longer than gRPC retries them, and recommends when to repeat them.
func busy() func() error {
	begun := time.Now()
	return func() error {
		if time.Since(begun) < 20*time.Second {
			return refusal(codes.Unavailable, "DRAINING", 20*time.Second)
		}
		return nil
	}
}

func TestInterceptorsOfTheCallerTakeNoRetryAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := busy()
		get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) {
			return &pb.GetStylizationResponse{}, refuse()
		}
		seen := 0
		count := func(
			ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
			options ...grpc.CallOption,
		) error {
			seen++
			return invoke(ctx, method, request, response, connection, options...)
		}
		client := (&server{get: get}).serveInMemory(t, grpc.WithUnaryInterceptor(count))
		if _, err := client.Jobs.Get(t.Context(), name); err != nil || seen != 2 {
			t.Errorf("%v after %d calls", err, seen)
		}
	})
}
