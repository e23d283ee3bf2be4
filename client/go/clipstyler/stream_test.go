package clipstyler_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func kinds(t *testing.T, stream *clipstyler.Stream) string {
	t.Helper()
	var seen []string
	for event, err := range stream.Events() {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, event.ProtoReflect().WhichOneof(event.ProtoReflect().Descriptor().Oneofs().Get(0)).TextName())
	}
	return strings.Join(seen, " ")
}

func failureOf(t *testing.T, err error) *clipstyler.Error {
	t.Helper()
	var failure *clipstyler.Error
	if !errors.As(err, &failure) {
		t.Fatalf("expected a *clipstyler.Error, got %v", err)
	}
	return failure
}

func TestStylizeGivesEventsAndAssemblesChunks(t *testing.T) {
	stylize := func(request *pb.StylizeRequest, call events) error {
		if request.GetSpec().GetStyleText() != "fire" {
			t.Errorf("asked for %v", request)
		}
		return call.play(0, queued(), progress(1), chunk(0, 400), chunk(400, 1000), result(nil))
	}
	client := (&server{stylize: stylize}).serve(t)
	stream := client.Stylize(t.Context(), &pb.StylizeRequest{Spec: &pb.StylizationSpec{StyleText: "fire"}})
	if seen := kinds(t, stream); seen != "queued progress result" {
		t.Errorf("saw %s", seen)
	}
	complete, err := stream.Result()
	if err != nil || !slices.Equal(complete.GetImageData(), image) {
		t.Errorf("%d bytes, %v", len(complete.GetImageData()), err)
	}
}

func TestBrokenResultsAreDataLoss(t *testing.T) {
	for name, script := range map[string][]*pb.StylizationEvent{
		"missing chunk": {chunk(400, 1000), result(nil)},
		"wrong length":  {chunk(0, 400), result(nil)},
		"wrong digest":  {result(slices.Concat(image[:999], []byte{1}))},
		"no result":     {queued()},
	} {
		stylize := func(_ *pb.StylizeRequest, call events) error { return call.play(0, script...) }
		_, err := (&server{stylize: stylize}).serve(t).Stylize(t.Context(), &pb.StylizeRequest{}).Result()
		if failure := failureOf(t, err); failure.Code != codes.DataLoss || failure.Reason != "BROKEN_RESULT" {
			t.Errorf("%s: %v", name, failure)
		}
	}
}

func TestWatchResumesAfterTheLastEvent(t *testing.T) {
	var asked []int64
	watch := func(request *pb.WatchStylizationRequest, call events) error {
		asked = append(asked, request.GetAfterSequence())
		if len(asked) > 1 {
			return call.play(request.GetAfterSequence(), queued(), progress(1), chunk(0, 1000), result(nil))
		}
		call.play(0, queued(), progress(1), chunk(0, 400))
		return refusal(codes.Unavailable, "DRAINING", 0)
	}
	stream := (&server{watch: watch}).serve(t).Jobs.Watch(t.Context(), "some-job", 0)
	if seen := kinds(t, stream); seen != "queued progress result" {
		t.Errorf("saw %s", seen)
	}
	if !slices.Equal(asked, []int64{0, 2}) || stream.Sequence() != 4 {
		t.Errorf("asked for %v, ended at %d", asked, stream.Sequence())
	}
}

func TestShutdownBeginsStylizeAgain(t *testing.T) {
	calls := 0
	stylize := func(_ *pb.StylizeRequest, call events) error {
		if calls++; calls > 1 {
			return call.play(0, result(image))
		}
		draining := &pb.StylizationEvent_Cancelled{Reason: pb.Stylization_CANCEL_REASON_DRAINING}
		return call.play(0, queued(), &pb.StylizationEvent{Event: &pb.StylizationEvent_Cancelled_{Cancelled: draining}})
	}
	if _, err := (&server{stylize: stylize}).serve(t).Stylize(t.Context(), &pb.StylizeRequest{}).Result(); err != nil {
		t.Error(err)
	}
}

func TestResetByAProxyIsResumedByWatchesOnly(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.Unknown} {
		calls := 0
		play := func(call events) error {
			if calls++; calls > 1 {
				return call.play(0, result(image))
			}
			call.play(0, queued())
			return status.Error(code, "reset by a proxy")
		}
		client := (&server{
			stylize: func(_ *pb.StylizeRequest, call events) error { return play(call) },
			watch:   func(_ *pb.WatchStylizationRequest, call events) error { return play(call) },
		}).serve(t)
		if _, err := client.Jobs.Watch(t.Context(), "some-job", 0).Result(); err != nil || calls != 2 {
			t.Errorf("%v: a watch ended with %v after %d calls", code, err, calls)
		}
		calls = 0
		_, err := client.Stylize(t.Context(), &pb.StylizeRequest{}).Result()
		if failure := failureOf(t, err); failure.Code != code || calls != 1 {
			t.Errorf("%v: a one-shot call ended with %v after %d calls", code, failure, calls)
		}
	}
}

func TestFailureWithAReasonEndsAWatch(t *testing.T) {
	calls := 0
	watch := func(_ *pb.WatchStylizationRequest, call events) error {
		calls++
		call.play(0, queued())
		return refusal(codes.Internal, "INTERNAL", 0)
	}
	_, err := (&server{watch: watch}).serve(t).Jobs.Watch(t.Context(), "some-job", 0).Result()
	if failure := failureOf(t, err); failure.Reason != "INTERNAL" || calls != 1 {
		t.Errorf("%v after %d calls", failure, calls)
	}
}

func TestJobThatEndedIsNotWatchedAgain(t *testing.T) {
	draining := &pb.StylizationEvent_Cancelled{Reason: pb.Stylization_CANCEL_REASON_DRAINING}
	end := &pb.StylizationEvent{Event: &pb.StylizationEvent_Cancelled_{Cancelled: draining}}
	for _, before := range [][]*pb.StylizationEvent{{queued()}, {}} {
		calls := 0
		watch := func(_ *pb.WatchStylizationRequest, call events) error {
			calls++
			return call.play(0, append(before, end)...)
		}
		_, err := (&server{watch: watch}).serve(t).Jobs.Watch(t.Context(), "some-job", 0).Result()
		if failure := failureOf(t, err); failure.Reason != "DRAINING" || calls != 1 {
			t.Errorf("%v after %d calls", failure, calls)
		}
	}
}

func TestCrashOfTheWorkerIsNotResumed(t *testing.T) {
	calls := 0
	stylize := func(_ *pb.StylizeRequest, call events) error {
		calls++
		call.play(0, queued())
		return refusal(codes.Unavailable, "WORKER_CRASHED", time.Second)
	}
	_, err := (&server{stylize: stylize}).serve(t).Stylize(t.Context(), &pb.StylizeRequest{}).Result()
	failure := failureOf(t, err)
	if failure.Reason != "WORKER_CRASHED" || failure.RetryDelay != time.Second || calls != 1 {
		t.Errorf("%v after %d calls", failure, calls)
	}
}

func TestFailedEventHasAllDetails(t *testing.T) {
	violation := &pb.Error_FieldViolation{Field: "spec.options.size", Description: "is too large"}
	failed := &pb.StylizationEvent_Failed{Error: &pb.Error{
		Code: pb.Error_CODE_INVALID_ARGUMENT, Reason: "DIVERGED", Message: "it diverged",
		Metadata: map[string]string{"step": "3"}, FieldViolations: []*pb.Error_FieldViolation{violation},
	}}
	stylize := func(_ *pb.StylizeRequest, call events) error {
		return call.play(0, queued(), &pb.StylizationEvent{Event: &pb.StylizationEvent_Failed_{Failed: failed}})
	}
	_, err := (&server{stylize: stylize}).serve(t).Stylize(t.Context(), &pb.StylizeRequest{}).Result()
	failure := failureOf(t, err)
	if failure.Code != codes.InvalidArgument || failure.Reason != "DIVERGED" || failure.Metadata["step"] != "3" ||
		failure.Violations[0].Field != "spec.options.size" || failure.Error() != "InvalidArgument: it diverged" {
		t.Errorf("%#v", failure)
	}
}

// endless sends one event and reports when the call ends.
func endless(t *testing.T) (*clipstyler.Client, <-chan bool) {
	ended := make(chan bool, 1)
	stylize := func(_ *pb.StylizeRequest, call events) error {
		call.play(0, queued())
		<-call.Done()
		ended <- true
		return call.Err()
	}
	return (&server{stylize: stylize}).serve(t), ended
}

func TestLeavingTheRangeEndsTheCall(t *testing.T) {
	client, ended := endless(t)
	for range client.Stylize(t.Context(), &pb.StylizeRequest{}).Events() {
		break
	}
	<-ended
}

func TestEndOfTheContextEndsTheCall(t *testing.T) {
	client, ended := endless(t)
	ctx, cancel := context.WithCancel(t.Context())
	var last error
	for _, err := range client.Stylize(ctx, &pb.StylizeRequest{}).Events() {
		cancel()
		last = err
	}
	if failure := failureOf(t, last); failure.Code != codes.Canceled {
		t.Error(failure)
	}
	<-ended
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := client.Stylize(ctx, &pb.StylizeRequest{}).Result()
	if failure := failureOf(t, err); failure.Code != codes.DeadlineExceeded {
		t.Error(failure)
	}
	<-ended
}

func TestAStreamThatEndedMakesNoOtherCall(t *testing.T) {
	calls := 0
	stylize := func(_ *pb.StylizeRequest, call events) error {
		calls++
		call.play(0, queued())
		return refusal(codes.InvalidArgument, "IMAGE_UNREADABLE", 0)
	}
	client := (&server{stylize: stylize}).serve(t)
	failed, left := client.Stylize(t.Context(), &pb.StylizeRequest{}), client.Stylize(t.Context(), &pb.StylizeRequest{})
	for range left.Events() {
		break
	}
	for range 2 {
		_, err := failed.Result()
		if failure := failureOf(t, err); failure.Reason != "IMAGE_UNREADABLE" {
			t.Errorf("it failed with %v", failure)
		}
		_, err = left.Result()
		if failure := failureOf(t, err); failure.Reason != "BROKEN_RESULT" {
			t.Errorf("left, it has %v", failure)
		}
	}
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func TestABusyReaderDoesNotMakeTheServerSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		watch := func(request *pb.WatchStylizationRequest, call events) error {
			if calls++; calls > 1 {
				return call.play(request.GetAfterSequence(), queued(), result(image))
			}
			call.play(0, queued())
			time.Sleep(clipstyler.ResumeTimeout)
			return refusal(codes.Unavailable, "DRAINING", 0)
		}
		stream := (&server{watch: watch}).serveInMemory(t).Jobs.Watch(t.Context(), "some-job", 0)
		for event, err := range stream.Events() {
			if err != nil {
				t.Error(err)
			}
			if event.GetQueued() != nil {
				time.Sleep(2 * clipstyler.ResumeTimeout)
			}
		}
	})
}

func TestTheEndOfTheContextEndsThePauseBeforeAnotherAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := refusal(codes.Unavailable, "DRAINING", 30*time.Second)
		watch := func(_ *pb.WatchStylizationRequest, call events) error {
			call.play(0, queued())
			return busy
		}
		get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) { return nil, busy }
		client := (&server{watch: watch, get: get}).serveInMemory(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		_, watched := client.Jobs.Watch(ctx, "some-job", 0).Result()
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		_, got := client.Jobs.Get(ctx, "some-job")
		for _, err := range []error{watched, got} {
			if failure := failureOf(t, err); failure.Code != codes.Canceled {
				t.Error(failure)
			}
		}
	})
}
