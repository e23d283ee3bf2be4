package clipstyler_test

import (
	"context"
	"iter"
	"net"
	"os"
	"os/exec"
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

// busy returns what refuses calls for now, and recommends when to repeat them.
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

func TestAnUnavailableServerIsAskedFiveTimesAndItsLastStatusKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		busy := func() error {
			asked++
			return refusal(codes.Unavailable, "DRAINING", 0)
		}
		client := serveInMemory(t, func(running *grpc.Server) {
			pb.RegisterStylizationServiceServer(running, &server{
				get:   func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) { return nil, busy() },
				watch: func(*pb.WatchStylizationRequest, events) error { return busy() },
			})
			pb.RegisterStyleServiceServer(running, &styleServer{apply: func(applyCall) error { return busy() }})
		})
		for _, name := range []string{"get", "watch", "apply"} {
			asked = 0
			failure := failureOf(t, calls(t.Context(), client)[name]())
			if asked != 5 || failure.Code != codes.Unavailable || failure.Message != "DRAINING happened" {
				t.Errorf("%s: %v after %d calls", name, failure, asked)
			}
		}
	})
}

func TestProxiesOfOtherProgramsAreUsedOnRequestOnly(t *testing.T) {
	const isChild = "CLIPSTYLER_TEST_PROXY"
	const proxy = "http://127.0.0.1:1" // none listens there
	if os.Getenv(isChild) == "" {      // Go reads the variables of proxies once
		for _, requested := range []string{"", proxy} {
			child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
			child.Env = append(os.Environ(), isChild+"=1", "HTTPS_PROXY="+proxy, "NO_PROXY=", "no_proxy=", "grpc_proxy="+requested)
			if output, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, output)
			}
		}
		return
	}
	listener, err := net.Listen("tcp", "0.0.0.0:0") // loopback has no proxy
	if err != nil {
		t.Fatal(err)
	}
	get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) {
		return &pb.GetStylizationResponse{}, nil
	}
	register := func(running *grpc.Server) { pb.RegisterStylizationServiceServer(running, &server{get: get}) }
	_, err = serveOn(t, listener, register).Jobs.Get(t.Context(), name)
	if isProxied := err != nil; isProxied != (os.Getenv("grpc_proxy") != "") {
		t.Error(err)
	}
}

func TestARefusalBeforeAllMessagesAreSentKeepsItsReason(t *testing.T) {
	upload := func(grpc.ClientStreamingServer[pb.UploadImageRequest, pb.UploadImageResponse]) error {
		return refusal(codes.Unavailable, "DRAINING", 0)
	}
	apply := func(applyCall) error { return refusal(codes.Unavailable, "DRAINING", 0) }
	client := serve(t, func(running *grpc.Server) {
		pb.RegisterStylizationServiceServer(running, &server{upload: upload})
		pb.RegisterStyleServiceServer(running, &styleServer{apply: apply})
	})
	failures := make(chan error)
	const count = 20 // it depends on who is faster
	for range count {
		go func() {
			_, err := client.Jobs.Upload(t.Context(), make([]byte, 5<<20))
			failures <- err
		}()
		go func() {
			var last error
			for _, last = range client.Styles.Apply(t.Context(), &pb.StyleApplication{}, photosOf("one", "two")) {
			}
			failures <- last
		}()
	}
	for range 2 * count {
		if failure := failureOf(t, <-failures); failure.Reason != "DRAINING" {
			t.Error(failure)
		}
	}
}

func photosOf(contents ...string) iter.Seq2[*pb.StylePhoto, error] {
	return func(yield func(*pb.StylePhoto, error) bool) {
		for _, content := range contents {
			if !yield(onePhoto([]byte(content)), nil) {
				return
			}
		}
	}
}
