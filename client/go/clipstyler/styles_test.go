package clipstyler_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

type (
	applyCall    = grpc.BidiStreamingServer[pb.ApplyStyleRequest, pb.ApplyStyleResponse]
	downloadCall = grpc.ServerStreamingServer[pb.DownloadStyleResponse]
	renderCall   = grpc.ServerStreamingServer[pb.RenderStyleResponse]
)

var (
	file      = []byte{9, 8, 7}
	digest    = fmt.Sprintf("%x", sha256.Sum256(file))
	styleName = "styles/" + digest
)

// styleServer plays what a test sets.
type styleServer struct {
	pb.UnimplementedStyleServiceServer
	names    []string
	fit      func(*pb.CreateStyleRequest) (*pb.CreateStyleResponse, error)
	list     func(*pb.ListStylesRequest) *pb.ListStylesResponse
	download func(downloadCall) error
	upload   func(*pb.UploadStyleRequest) (*pb.UploadStyleResponse, error)
	apply    func(applyCall) error
	render   func(*pb.RenderStyleRequest, renderCall) error
}

func (s *styleServer) CreateStyle(_ context.Context, request *pb.CreateStyleRequest) (*pb.CreateStyleResponse, error) {
	if request.GetFit() != nil {
		return s.fit(request)
	}
	s.names = append(s.names, request.GetStylization())
	return &pb.CreateStyleResponse{Style: &pb.Style{Name: styleName}}, nil
}

func (s *styleServer) GetStyle(_ context.Context, request *pb.GetStyleRequest) (*pb.GetStyleResponse, error) {
	s.names = append(s.names, request.GetName())
	return &pb.GetStyleResponse{Style: &pb.Style{Name: request.GetName()}}, nil
}

func (s *styleServer) DeleteStyle(_ context.Context, request *pb.DeleteStyleRequest) (*pb.DeleteStyleResponse, error) {
	s.names = append(s.names, request.GetName())
	return &pb.DeleteStyleResponse{}, nil
}

func (s *styleServer) ListStyles(_ context.Context, request *pb.ListStylesRequest) (*pb.ListStylesResponse, error) {
	return s.list(request), nil
}

func (s *styleServer) DownloadStyle(_ *pb.DownloadStyleRequest, call downloadCall) error {
	return s.download(call)
}

func (s *styleServer) UploadStyle(_ context.Context, request *pb.UploadStyleRequest) (*pb.UploadStyleResponse, error) {
	return s.upload(request)
}

func (s *styleServer) ApplyStyle(call applyCall) error { return s.apply(call) }

func (s *styleServer) RenderStyle(request *pb.RenderStyleRequest, call renderCall) error {
	return s.render(request, call)
}

func (s *styleServer) serve(t *testing.T) *clipstyler.Client {
	t.Helper()
	return serve(t, func(running *grpc.Server) { pb.RegisterStyleServiceServer(running, s) })
}

// styled are the messages with the result of a photo.
func styled(index int32) []*pb.ApplyStyleResponse {
	return []*pb.ApplyStyleResponse{
		{PhotoIndex: index, Part: &pb.ApplyStyleResponse_Metadata{Metadata: announced()}},
		{PhotoIndex: index, Part: &pb.ApplyStyleResponse_Data{Data: image[:100]}},
		{PhotoIndex: index, Part: &pb.ApplyStyleResponse_Data{Data: image[100:]}},
	}
}

func sendAll(call applyCall, parts []*pb.ApplyStyleResponse) error {
	for _, part := range parts {
		if err := call.Send(part); err != nil {
			return err
		}
	}
	return nil
}

func onePhoto(data []byte) *pb.StylePhoto {
	return &pb.StylePhoto{Photo: &pb.StylePhoto_Image{Image: data}}
}

// endlessPhotos gives photos without an end and counts them.
func endlessPhotos(count *atomic.Int64, data []byte) func(func(*pb.StylePhoto, error) bool) {
	return func(yield func(*pb.StylePhoto, error) bool) {
		for yield(onePhoto(data), nil) {
			count.Add(1)
		}
	}
}

func TestBareNamesOfStylesAreCompleted(t *testing.T) {
	server := &styleServer{}
	styles := server.serve(t).Styles
	created, err := styles.Create(t.Context(), "one")
	if err != nil || created.GetName() != styleName {
		t.Errorf("%v, %v", created, err)
	}
	got, err := styles.Get(t.Context(), digest)
	if err != nil || got.GetName() != styleName {
		t.Errorf("%v, %v", got, err)
	}
	if err := styles.Delete(t.Context(), styleName); err != nil {
		t.Error(err)
	}
	if !slices.Equal(server.names, []string{"stylizations/one", styleName, styleName}) {
		t.Errorf("%v", server.names)
	}
}

func TestFitIsCreatedOnce(t *testing.T) {
	var ids []string
	fit := func(request *pb.CreateStyleRequest) (*pb.CreateStyleResponse, error) {
		if ids = append(ids, request.GetRequestId()); len(ids) == 1 {
			return nil, refusal(codes.Unavailable, "DRAINING", 0)
		}
		count := int32(len(request.GetFit().GetPhotos()))
		return &pb.CreateStyleResponse{Stylization: &pb.Stylization{FittedPhotoCount: count}}, nil
	}
	styles := (&styleServer{fit: fit}).serve(t).Styles
	request := &pb.CreateStyleRequest{Fit: &pb.StyleFit{Photos: []*pb.StylePhoto{onePhoto(image)}}}
	job, err := styles.Fit(t.Context(), request)
	if err != nil || job.GetFittedPhotoCount() != 1 || len(ids) != 2 || ids[0] != ids[1] || len(ids[0]) != 36 {
		t.Errorf("%v, %v, %v", job, err, ids)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
	request.RequestId = "mine"
	if _, err := styles.Fit(t.Context(), request); err != nil || ids[2] != "mine" {
		t.Errorf("%v, %v", err, ids)
	}
}

func TestListOfStylesGoesThroughAllPages(t *testing.T) {
	list := func(request *pb.ListStylesRequest) *pb.ListStylesResponse {
		if request.GetPageSize() != 2 {
			t.Errorf("asked for %v", request)
		}
		if request.GetPageToken() != "" {
			return &pb.ListStylesResponse{Styles: []*pb.Style{{Name: "3"}}}
		}
		return &pb.ListStylesResponse{Styles: []*pb.Style{{Name: "1"}, {Name: "2"}}, NextPageToken: "more"}
	}
	var names []string
	for style, err := range (&styleServer{list: list}).serve(t).Styles.List(t.Context(), &pb.ListStylesRequest{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, style.GetName())
	}
	if !slices.Equal(names, []string{"1", "2", "3"}) {
		t.Errorf("%v", names)
	}
}

func TestFileOfAStyleIsJoinedAndChecked(t *testing.T) {
	download := func(call downloadCall) error {
		call.Send(&pb.DownloadStyleResponse{Data: file[:1]})
		return call.Send(&pb.DownloadStyleResponse{Data: file[1:]})
	}
	uploads := 0
	upload := func(request *pb.UploadStyleRequest) (*pb.UploadStyleResponse, error) {
		if uploads++; uploads == 1 {
			return nil, refusal(codes.Unavailable, "DRAINING", 0)
		}
		return &pb.UploadStyleResponse{Style: &pb.Style{SizeBytes: int64(len(request.GetData()))}}, nil
	}
	styles := (&styleServer{download: download, upload: upload}).serve(t).Styles
	got, err := styles.Download(t.Context(), digest)
	if err != nil || !slices.Equal(got, file) {
		t.Errorf("%v, %v", got, err)
	}
	_, err = styles.Download(t.Context(), strings.Repeat("0", 64))
	if failure := failureOf(t, err); failure.Code != codes.DataLoss {
		t.Error(failure)
	}
	uploaded, err := styles.Upload(t.Context(), file)
	if err != nil || uploaded.GetSizeBytes() != 3 {
		t.Errorf("%v, %v", uploaded, err)
	}
}

func TestEachPhotoIsGivenAsItIsDone(t *testing.T) {
	apply := func(call applyCall) error {
		first, _ := call.Recv()
		asked := first.GetApplication()
		if asked.GetStyle() != styleName || asked.GetSecondStyle() != "styles/other" || asked.GetControls().GetStrength() != 0.5 {
			t.Errorf("asked for %v", asked)
		}
		for index := int32(0); ; index++ {
			request, err := call.Recv()
			if err != nil {
				return nil
			}
			if string(request.GetPhoto().GetImage()) != "bad" {
				sendAll(call, styled(index))
				continue
			}
			problem := &pb.Error{Code: pb.Error_CODE_INVALID_ARGUMENT, Reason: "INVALID_FIELD"}
			call.Send(&pb.ApplyStyleResponse{PhotoIndex: index, Part: &pb.ApplyStyleResponse_Error{Error: problem}})
		}
	}
	var paths []string
	for index, data := range []string{"good", "bad", "good"} {
		paths = append(paths, filepath.Join(t.TempDir(), fmt.Sprint(index)))
		os.WriteFile(paths[index], []byte(data), 0o600)
	}
	application := &pb.StyleApplication{
		Style: digest, SecondStyle: "other", Controls: &pb.StyleControls{Strength: proto.Float64(0.5)},
	}
	var lengths []int
	for styled, err := range (&styleServer{apply: apply}).serve(t).Styles.Apply(t.Context(), application, clipstyler.PhotoFiles(paths...)) {
		if err != nil {
			t.Fatal(err)
		}
		if styled.Index != len(lengths) {
			t.Errorf("photo %d came after %d others", styled.Index, len(lengths))
		}
		if styled.Err != nil {
			if failure := failureOf(t, styled.Err); failure.Reason != "INVALID_FIELD" || styled.Image != nil {
				t.Error(failure)
			}
			lengths = append(lengths, 0)
			continue
		}
		lengths = append(lengths, len(styled.Image.Data))
	}
	if application.GetStyle() != digest || !slices.Equal(lengths, []int{len(image), 0, len(image)}) {
		t.Errorf("%v of %v", lengths, application)
	}
}

func TestPhotosWaitInTheirSourceUntilTheServerTakesThem(t *testing.T) {
	isCancelled := make(chan bool, 1)
	apply := func(call applyCall) error {
		call.Recv()
		call.Recv()
		sendAll(call, styled(0))
		<-call.Context().Done()
		isCancelled <- true
		return nil
	}
	var taken atomic.Int64
	client := (&styleServer{apply: apply}).serve(t)
	for styled, err := range client.Styles.Apply(t.Context(), &pb.StyleApplication{}, endlessPhotos(&taken, make([]byte, 1<<20))) {
		if err != nil || styled.Index != 0 {
			t.Errorf("%v, %v", styled, err)
		}
		time.Sleep(100 * time.Millisecond)
		break
	}
	<-isCancelled // by leaving
	if count := taken.Load(); count > 20 {
		t.Errorf("%d photos of 1 MiB were taken", count)
	}
}

func TestErrorsOfTheSourceAndOfTheCallEndIt(t *testing.T) {
	apply := func(call applyCall) error {
		for range 2 {
			if _, err := call.Recv(); err != nil {
				return err
			}
		}
		if _, err := call.Recv(); err == nil {
			return refusal(codes.NotFound, "STYLE_NOT_FOUND", 0)
		}
		return sendAll(call, styled(0))
	}
	client := (&styleServer{apply: apply}).serve(t)
	path := filepath.Join(t.TempDir(), "photo")
	os.WriteFile(path, []byte("photo"), 0o600)
	outcomeOf := func(paths ...string) (done int, last error) {
		for _, last = range client.Styles.Apply(t.Context(), &pb.StyleApplication{}, clipstyler.PhotoFiles(paths...)) {
			if last == nil {
				done++
			}
		}
		return done, last
	}
	if done, err := outcomeOf(path, path+"-missing"); !errors.Is(err, fs.ErrNotExist) || done != 1 {
		t.Errorf("%d photos, then %v", done, err)
	}
	done, err := outcomeOf(path, path)
	if failure := failureOf(t, err); failure.Reason != "STYLE_NOT_FOUND" || done != 0 {
		t.Errorf("%d photos, then %v", done, failure)
	}
}

func TestAStyleThatCannotBeEncodedIsTheCallersError(t *testing.T) {
	apply := func(call applyCall) error {
		for {
			if _, err := call.Recv(); err != nil {
				return err
			}
		}
	}
	client := (&styleServer{apply: apply}).serve(t)
	for _, application := range []*pb.StyleApplication{{Style: "no UTF-8: \xff"}, {SecondStyle: "\xff"}} {
		var last error
		for _, last = range client.Styles.Apply(t.Context(), application, clipstyler.PhotoFiles()) {
		}
		if failure := failureOf(t, last); failure.Code != codes.InvalidArgument || failure.Reason != "INVALID_FIELD" {
			t.Errorf("%#v", failure)
		}
	}
}

func TestBrokenImagesOfStylesAreRefused(t *testing.T) {
	for _, parts := range [][]*pb.ApplyStyleResponse{styled(0)[:2], styled(0)[1:]} {
		apply := func(call applyCall) error { return sendAll(call, parts) }
		var last error
		for _, err := range (&styleServer{apply: apply}).serve(t).Styles.Apply(t.Context(), nil, clipstyler.PhotoFiles()) {
			last = err
		}
		if failure := failureOf(t, last); failure.Code != codes.DataLoss {
			t.Error(failure)
		}
	}
}

func TestPhotoOrAFinishedJobIsRendered(t *testing.T) {
	var asked []string
	render := func(request *pb.RenderStyleRequest, call renderCall) error {
		asked = append(asked, request.GetApplication().GetStyle()+request.GetStylization())
		call.Send(&pb.RenderStyleResponse{Part: &pb.RenderStyleResponse_Metadata{Metadata: announced()}})
		return call.Send(&pb.RenderStyleResponse{Part: &pb.RenderStyleResponse_Data{Data: image}})
	}
	styles := (&styleServer{render: render}).serve(t).Styles
	requests := []*pb.RenderStyleRequest{
		{Application: &pb.StyleApplication{Style: digest}, Photo: onePhoto(file)}, {Stylization: "one"},
	}
	for _, request := range requests {
		if got, err := styles.Render(t.Context(), request); err != nil || !slices.Equal(got.Data, image) {
			t.Errorf("%v, %v", got, err)
		}
	}
	if !slices.Equal(asked, []string{styleName, "stylizations/one"}) {
		t.Errorf("%v", asked)
	}
}

func TestStyleCallsAreRepeatedWhenTheServerRecommends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse func() error
		server := &styleServer{
			download: func(call downloadCall) error {
				if err := refuse(); err != nil {
					return err
				}
				return call.Send(&pb.DownloadStyleResponse{Data: file})
			},
			render: func(_ *pb.RenderStyleRequest, call renderCall) error {
				if err := refuse(); err != nil {
					return err
				}
				call.Send(&pb.RenderStyleResponse{Part: &pb.RenderStyleResponse_Metadata{Metadata: announced()}})
				return call.Send(&pb.RenderStyleResponse{Part: &pb.RenderStyleResponse_Data{Data: image}})
			},
		}
		styles := serveInMemory(t, func(running *grpc.Server) { pb.RegisterStyleServiceServer(running, server) }).Styles
		refuse = busy()
		if got, err := styles.Download(t.Context(), digest); err != nil || !slices.Equal(got, file) {
			t.Errorf("%v, %v", got, err)
		}
		refuse = busy()
		if got, err := styles.Render(t.Context(), &pb.RenderStyleRequest{}); err != nil || !slices.Equal(got.Data, image) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestPhotosAreSentAgainUntilTheFirstAnswer(t *testing.T) {
	for _, isAnswered := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			refuse := busy()
			apply := func(call applyCall) error {
				var received []string
				for {
					request, err := call.Recv()
					if err != nil {
						break
					}
					received = append(received, string(request.GetPhoto().GetImage()))
				}
				if !slices.Equal(received, []string{"", "one", "two"}) {
					t.Errorf("received %q", received)
				}
				if isAnswered {
					sendAll(call, styled(0))
				}
				if err := refuse(); err != nil {
					return err
				}
				return sendAll(call, slices.Concat(styled(0), styled(1)))
			}
			server := &styleServer{apply: apply}
			styles := serveInMemory(t, func(running *grpc.Server) { pb.RegisterStyleServiceServer(running, server) }).Styles
			photos := func(yield func(*pb.StylePhoto, error) bool) {
				_ = yield(onePhoto([]byte("one")), nil) && yield(onePhoto([]byte("two")), nil) && yield(nil, fs.ErrNotExist)
			}
			done, last := 0, error(nil)
			for _, last = range styles.Apply(t.Context(), &pb.StyleApplication{}, photos) {
				if last == nil {
					done++
				}
			}
			if isAnswered {
				if failure := failureOf(t, last); failure.Reason != "DRAINING" || done != 1 {
					t.Errorf("%d photos, then %v", done, last)
				}
			} else if last != fs.ErrNotExist || done != 2 {
				t.Errorf("%d photos, then %v", done, last)
			}
		})
	}
}
