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

// busyServer refuses all calls for now.
func busyServer(t *testing.T) *clipstyler.Client {
	busy := refusal(codes.Unavailable, "DRAINING", 30*time.Second)
	watch := func(_ *pb.WatchStylizationRequest, call events) error {
		call.play(0, queued())
		return busy
	}
	get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) { return nil, busy }
	return serveInMemory(t, func(running *grpc.Server) {
		pb.RegisterStylizationServiceServer(running, &server{watch: watch, get: get})
		pb.RegisterStyleServiceServer(running, &styleServer{apply: func(applyCall) error { return busy }})
	})
}

// calls are a watch, a call with one response, one that applies a style, and one that waits for the server.
func calls(ctx context.Context, client *clipstyler.Client) map[string]func() error {
	return map[string]func() error{
		"watch": func() error {
			_, err := client.Jobs.Watch(ctx, "some-job", 0).Result()
			return err
		},
		"get": func() error {
			_, err := client.Jobs.Get(ctx, "some-job")
			return err
		},
		"apply": func() (err error) {
			for _, err = range client.Styles.Apply(ctx, &pb.StyleApplication{}, photosOf("one")) {
			}
			return err
		},
		"wait": func() error {
			_, err := client.WaitUntilReady(ctx)
			return err
		},
	}
}

func TestClosingTheClientEndsThePauseBeforeAnotherAttempt(t *testing.T) {
	for name := range calls(nil, &clipstyler.Client{}) {
		synctest.Test(t, func(t *testing.T) {
			client := busyServer(t)
			begun := time.Now()
			time.AfterFunc(20*time.Second, func() { client.Close() })
			failure := failureOf(t, calls(t.Context(), client)[name]())
			if failure.Code != codes.Canceled || time.Since(begun) != 20*time.Second {
				t.Errorf("%s: %v after %v", name, failure, time.Since(begun))
			}
		})
	}
}

func TestCallsOfAClosedClientAreCancelled(t *testing.T) {
	client := busyServer(t)
	client.Close()
	for name, call := range calls(t.Context(), client) {
		if failure := failureOf(t, call()); failure.Code != codes.Canceled {
			t.Errorf("%s: %v", name, failure)
		}
	}
}

func TestCancellingTheContextEndsTheWaitForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := busyServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := client.WaitUntilReady(ctx)
		if failure := failureOf(t, err); failure.Code != codes.Canceled {
			t.Errorf("%v", failure)
		}
	})
}

func TestTheDeadlineOfTheWaitForTheServerIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := busyServer(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.WaitUntilReady(ctx)
		if failure := failureOf(t, err); failure.Code != codes.Unavailable {
			t.Errorf("%v", failure)
		}
	})
}

func TestARequestOfNilIsAnEmptyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serveInMemory(t, func(*grpc.Server) {})
		calls := map[string]func() error{
			"create": func() error { _, err := client.Jobs.Create(t.Context(), nil); return err },
			"fit":    func() error { _, err := client.Styles.Fit(t.Context(), nil); return err },
			"render": func() error { _, err := client.Styles.Render(t.Context(), nil); return err },
			"jobs": func() (err error) {
				for _, err = range client.Jobs.List(t.Context(), nil) {
				}
				return err
			},
			"styles": func() (err error) {
				for _, err = range client.Styles.List(t.Context(), nil) {
				}
				return err
			},
		}
		for name, call := range calls {
			if failure := failureOf(t, call()); failure.Code != codes.Unimplemented {
				t.Errorf("%s: %v", name, failure)
			}
		}
	})
}
