package clipstyler_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const name = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11"

func TestRetriesOfCreateHaveTheSameRequestID(t *testing.T) {
	var ids []string
	create := func(request *pb.CreateStylizationRequest) (*pb.CreateStylizationResponse, error) {
		if ids = append(ids, request.GetRequestId()); len(ids) < 3 {
			return nil, refusal(codes.Unavailable, "DRAINING", 0)
		}
		return &pb.CreateStylizationResponse{Stylization: &pb.Stylization{Name: name}}, nil
	}
	request := &pb.CreateStylizationRequest{}
	job, err := (&server{create: create}).serve(t).Jobs.Create(t.Context(), request)
	if err != nil || job.GetName() != name || request.GetRequestId() != "" {
		t.Errorf("%v, %v", job, err)
	}
	uuid4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if slices.Sort(ids); len(ids) != 3 || ids[0] != ids[2] || !uuid4.MatchString(ids[0]) {
		t.Errorf("%v", ids)
	}
}

func TestARequestThatCannotBeEncodedIsTheCallersErrorAndIsNeverSent(t *testing.T) {
	spec := &pb.StylizationSpec{StyleText: "no UTF-8: \xff"}
	create := func(*pb.CreateStylizationRequest) (*pb.CreateStylizationResponse, error) { panic("sent") }
	stylize := func(*pb.StylizeRequest, events) error { panic("sent") }
	client := (&server{create: create, stylize: stylize}).serve(t)
	_, created := client.Jobs.Create(t.Context(), &pb.CreateStylizationRequest{Spec: spec})
	_, stylized := client.Stylize(t.Context(), &pb.StylizeRequest{Spec: spec}).Result()
	for _, err := range []error{created, stylized} {
		failure := failureOf(t, err)
		if failure.Code != codes.InvalidArgument || failure.Reason != "INVALID_FIELD" || !strings.Contains(failure.Message, "UTF-8") {
			t.Errorf("%#v", failure)
		}
	}
}

func TestErrorsHaveAllDetails(t *testing.T) {
	calls := 0
	get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) {
		calls++
		return nil, refusal(codes.ResourceExhausted, "QUEUE_FULL", 12*time.Second, "one", "two")
	}
	_, err := (&server{get: get}).serve(t).Jobs.Get(t.Context(), name)
	failure := failureOf(t, err)
	if failure.Code != codes.ResourceExhausted || failure.Reason != "QUEUE_FULL" || failure.RetryDelay != 12*time.Second ||
		failure.Metadata["state"] != "starting" || failure.Violations[1].Field != "two" || calls != 1 {
		t.Errorf("%#v after %d calls", failure, calls)
	}
}

func TestRetryWaitsAsLongAsTheServerRecommends(t *testing.T) {
	var last time.Time
	get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) {
		if !last.IsZero() && time.Since(last) >= 2*time.Second {
			return &pb.GetStylizationResponse{Stylization: &pb.Stylization{Name: name}}, nil
		}
		last = time.Now()
		return nil, refusal(codes.Unavailable, "STORAGE_UNAVAILABLE", 2500*time.Millisecond)
	}
	client := (&server{get: get}).serve(t)
	if job, err := client.Jobs.Get(t.Context(), name); err != nil || job.GetName() != name {
		t.Errorf("%v, %v", job, err)
	}
}

func TestRetryThatTheDeadlineForbidsIsNotWaitedFor(t *testing.T) {
	get := func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) {
		return nil, refusal(codes.Unavailable, "STORAGE_UNAVAILABLE", time.Hour)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	begun := time.Now()
	_, err := (&server{get: get}).serve(t).Jobs.Get(ctx, name)
	if failure := failureOf(t, err); failure.Reason != "STORAGE_UNAVAILABLE" || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %v", failure, time.Since(begun))
	}
}

func TestListGoesThroughAllPages(t *testing.T) {
	list := func(request *pb.ListStylizationsRequest) (*pb.ListStylizationsResponse, error) {
		if request.GetPageSize() != 2 {
			t.Errorf("asked for %v", request)
		}
		if request.GetPageToken() != "" {
			return &pb.ListStylizationsResponse{Stylizations: []*pb.Stylization{{Name: "3"}}}, nil
		}
		jobs := []*pb.Stylization{{Name: "1"}, {Name: "2"}}
		return &pb.ListStylizationsResponse{Stylizations: jobs, NextPageToken: "more"}, nil
	}
	client := (&server{list: list}).serve(t)
	var names []string
	for job, err := range client.Jobs.List(t.Context(), &pb.ListStylizationsRequest{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, job.GetName())
	}
	if !slices.Equal(names, []string{"1", "2", "3"}) {
		t.Errorf("%v", names)
	}
}

func TestUploadAnnouncesItsDigest(t *testing.T) {
	photo := make([]byte, 2<<20+1)
	upload := func(call grpc.ClientStreamingServer[pb.UploadImageRequest, pb.UploadImageResponse]) error {
		first, _ := call.Recv()
		var data []byte
		for {
			part, err := call.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			data = append(data, part.GetData()...)
		}
		digest := sha256.Sum256(data)
		if !slices.Equal(digest[:], first.GetHeader().GetSha256()) || len(data) != len(photo) {
			t.Errorf("%d bytes arrived after %v", len(data), first)
		}
		return call.SendAndClose(&pb.UploadImageResponse{Upload: "uploads/1"})
	}
	uploaded, err := (&server{upload: upload}).serve(t).Jobs.Upload(t.Context(), photo)
	if err != nil || uploaded.GetUpload() != "uploads/1" {
		t.Errorf("%v, %v", uploaded, err)
	}
}

func TestDownloadIsJoinedAndChecked(t *testing.T) {
	data := image
	download := func(
		request *pb.GetStylizationImageRequest, call grpc.ServerStreamingServer[pb.GetStylizationImageResponse],
	) error {
		if request.GetName() != "stylizations/one" {
			t.Errorf("asked for %v", request)
		}
		call.Send(&pb.GetStylizationImageResponse{Part: &pb.GetStylizationImageResponse_Metadata{Metadata: announced()}})
		call.Send(&pb.GetStylizationImageResponse{Part: &pb.GetStylizationImageResponse_Data{Data: data[:100]}})
		return call.Send(&pb.GetStylizationImageResponse{Part: &pb.GetStylizationImageResponse_Data{Data: data[100:]}})
	}
	client := (&server{image: download}).serve(t)
	got, err := client.Jobs.Download(t.Context(), "one", pb.Stylization_IMAGE_KIND_RESULT)
	if err != nil || !slices.Equal(got.Data, image) || got.Metadata.GetWidthPx() != 64 {
		t.Errorf("%v, %v", got, err)
	}
	data = append(slices.Clone(image[:999]), 1)
	_, err = client.Jobs.Download(t.Context(), "one", pb.Stylization_IMAGE_KIND_RESULT)
	if failure := failureOf(t, err); failure.Code != codes.DataLoss {
		t.Error(failure)
	}
}

func TestUploadsAndDownloadsAreRepeatedWhenTheServerRecommends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse func() error
		client := (&server{
			upload: func(call grpc.ClientStreamingServer[pb.UploadImageRequest, pb.UploadImageResponse]) error {
				if err := refuse(); err != nil {
					return err
				}
				return call.SendAndClose(&pb.UploadImageResponse{Upload: "uploads/1"})
			},
			image: func(_ *pb.GetStylizationImageRequest, call grpc.ServerStreamingServer[pb.GetStylizationImageResponse]) error {
				if err := refuse(); err != nil {
					return err
				}
				call.Send(&pb.GetStylizationImageResponse{Part: &pb.GetStylizationImageResponse_Metadata{Metadata: announced()}})
				return call.Send(&pb.GetStylizationImageResponse{Part: &pb.GetStylizationImageResponse_Data{Data: image}})
			},
		}).serveInMemory(t)
		refuse = busy()
		if uploaded, err := client.Jobs.Upload(t.Context(), image); err != nil || uploaded.GetUpload() != "uploads/1" {
			t.Errorf("%v, %v", uploaded, err)
		}
		refuse = busy()
		got, err := client.Jobs.Download(t.Context(), "one", pb.Stylization_IMAGE_KIND_RESULT)
		if err != nil || !slices.Equal(got.Data, image) {
			t.Errorf("%v, %v", got, err)
		}
	})
}
